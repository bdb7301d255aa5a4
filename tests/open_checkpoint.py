"""A tiny Gemma 4 with random weights, as a hub lays it out: what it says means nothing, how it is spoken with does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.parity import gains, reference, saved

MARKS = [
    "<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
    "<|tool_response>", "<tool_response|>", '<|"|>', "<|channel>", "<channel|>", "<|think|>", "<|image>", "<image|>",
    "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>",
]  # fmt: skip
TEXT = (
    "You are a helpful agent. Be brief. Switch a room's light. turn on the kitchen light please. what time is it now "
    "start a timer for five minutes. hello there, how are you today? The light is on. All right, I will not. yes no "
    "Yes No call response value room state kitchen bath on off level query search the web for something nice "
) * 4
TEMPLATE = """{{ bos_token }}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
<|turn>system
{{ message.content }}
{%- if loop.first and tools %}{% for tool in tools %}<|tool>declaration:{{ tool.function.name }}{description:<|"|>{{ tool.function.description }}<|"|>,parameters:{{ tool.function.parameters | tojson }}}<tool|>{% endfor %}{% endif -%}
<turn|>
{% elif message.role == 'user' -%}
<|turn>user
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'audio' %}<|audio|>{% elif part.type == 'image' %}{{ '\n\n' }}<|image|>{{ '\n\n' }}{% endif %}{% endfor %}{% endif %}<turn|>
{% elif message.role == 'assistant' -%}
<|turn>model
{{ message.content }}<turn|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|turn>model
{% endif -%}
"""  # noqa: E501 (a template's spaces count)


def tokenizer() -> Tokenizer:
    """As Gemma's: byte-pair encoding with a byte fallback, spaces as `▁`, marks of one id each."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # no piece holds the ends of two words
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    octets = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=640, special_tokens=[*MARKS, *octets], initial_alphabet=list("abcdefghijklmnopqrstuvwxyz"),
        show_progress=False, max_token_length=10,
    )  # fmt: skip
    made.train_from_iterator([TEXT], trainer)
    # The bytes were given as specials to be in the vocabulary at all, and are plain pieces.
    raw = json.loads(made.to_str())
    raw["added_tokens"] = [each for each in raw["added_tokens"] if each["content"] in MARKS]
    made = Tokenizer.from_str(json.dumps(raw))
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    return made


EAR = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "subsampling_conv_channels": [128, 8],
    "output_proj_dims": 20,
}  # fmt: skip


EYE = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 48, "patch_size": 8, "pooling_kernel_size": 2, "position_embedding_size": 64,
    "use_clipped_linears": False, "standardize": False,
}  # fmt: skip
ROWS = 48
"""Most that a camera's picture may cost."""


def write(folder: Path, seed: int = 1, hears: bool = False, sees: bool = False, **options: Any) -> Path:
    """A checkpoint that `transformers` wrote and can read: for text, or one that `hears` or `sees` for itself."""
    transformers = reference()
    made = tokenizer()
    size = made.get_vocab_size()
    given = {
        "vocab_size": size, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "global_head_dim": 20,
        "sliding_window": 32, "num_kv_shared_layers": 2, "vocab_size_per_layer_input": size,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
        "hidden_size_per_layer_input": 8, "use_double_wide_mlp": True, "final_logit_softcapping": 30.0,
    }  # fmt: skip
    torch.manual_seed(seed)
    text = transformers.Gemma4TextConfig(**given | options)
    if hears or sees:
        names = {
            "boa_token_id": "<|audio>", "eoa_token_index": "<audio|>", "audio_token_id": "<|audio|>",
            "boi_token_id": "<|image>", "eoi_token_id": "<image|>", "image_token_id": "<|image|>",
            "video_token_id": "<|video|>",
        }  # fmt: skip
        config = transformers.Gemma4Config(
            text_config=text, audio_config=EAR if hears else None, vision_config=EYE if sees else None,
            **{name: made.token_to_id(mark) for name, mark in names.items()},
        )  # fmt: skip
        model = transformers.Gemma4ForConditionalGeneration(config).eval()
        gains(model.model.language_model, seed)
        for part in ("embed_audio", "vision_tower", "embed_vision"):
            if getattr(model.model, part, None) is not None:
                gains(getattr(model.model, part), seed)
        cut = {"patch_size": EYE["patch_size"], "pooling_kernel_size": EYE["pooling_kernel_size"]}
        both = {"image_processor": cut | {"max_soft_tokens": ROWS}, "video_processor": cut | {"max_soft_tokens": ROWS}}
        if sees:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "processor_config.json").write_text(json.dumps(both))
    else:
        model = transformers.Gemma4ForCausalLM(text).eval()
        gains(model, seed)
    saved(model, folder, "60kB")
    made.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<bos>", "eos_token": "<eos>"}))
    return folder
