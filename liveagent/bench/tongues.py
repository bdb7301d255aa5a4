"""`Tongue`: how a kind of checkpoint writes conversations, as a folder says it: a tokenizer, a chat template and their
settings, made here and tiny, laid out as hubs do. For comparing what `Chat` makes of them with `transformers`.

Three shapes that most checkpoints have, in words of our own: turns between two marks with a tool's result inside the
agent's (as Gemma), turns that all end alike with calls as JSON (as ChatML), and turns behind a header (as Llama 3).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from liveagent.families import gemma4
from liveagent.nn.chat import CallSyntax, Chat, Render, SenseMarks
from liveagent.nn.json_calls import JsonCalls
from liveagent.nn.tokens import Tokens

CORPUS = (
    "You are a helpful agent in a house. Be brief, and say what you did. Switch a room's light on or off. Turn on the "
    "kitchen light, please. What time is it? Start a timer of 25 minutes. Hello there, how are you today? The light "
    "is on, and the timer runs. All right, I will not. Yes. No. Nothing was found: the web is far away. system user "
    'assistant model {"name": "light", "arguments": {"room": "kitchen", "state": "on", "level": 3}}\n\ncall response\n'
) * 4


@dataclass(frozen=True)
class Tongue:
    """`marks`: special tokens, first of all padding; `plain_marks`: of one id too, and letters to who decodes. `keeps`:
    what we leave standing in front of each reply that has been given, and `transformers` does not: what the agent's
    turn was opened with when it was. `sound`, `picture`: what opens it, holds the place of a row, and closes it.
    `film`: what a template writes for one."""

    template: str
    marks: tuple[str, ...]
    calls: Callable[[], CallSyntax]
    made: Callable[[Tongue], Tokenizer]
    settings: Mapping[str, str] = field(default_factory=dict)
    plain_marks: tuple[str, ...] = ()
    keeps: str = ""
    sound: tuple[str, str, str] | None = None
    picture: tuple[str, str, str] | None = None
    film: str = ""

    def write(self, folder: Path) -> Tokenizer:
        """Everything but weights."""
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = self.made(self)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "chat_template.jinja").write_text(self.template, encoding="utf-8")
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | dict(self.settings)))
        return tokenizer

    def sense(self, tokens: Tokens, marks: tuple[str, str, str] | None, timed: bool = False) -> SenseMarks | None:
        if marks is None:
            return None
        opens, row, closes = (tokens.id(each) for each in marks)
        return SenseMarks(opens, row, closes, 0, timed)

    def chat(self, tokens: Tokens, render: Render, calls: CallSyntax | None = None) -> Chat:
        """What is compared; `calls`: in place of its own."""
        sound, picture = self.sense(tokens, self.sound), self.sense(tokens, self.picture, bool(self.film))
        return Chat(tokens, render, calls or self.calls(), sound, picture)


def _added(tokenizer: Tokenizer, tongue: Tongue) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in tongue.marks])
    tokenizer.add_tokens([AddedToken(each, special=False, normalized=False) for each in tongue.plain_marks])
    return tokenizer


def with_bytes(tongue: Tongue) -> Tokenizer:
    """Spaces as `▁`, and bytes for what no piece spells."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+|▁?[^▁\n]+|▁"), "isolated")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    octets = [f"<0x{value:02X}>" for value in range(256)]
    alphabet = [chr(code) for code in range(33, 127)] + ["\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=[*tongue.marks, *octets], initial_alphabet=alphabet, show_progress=False,
        max_token_length=10,
    )  # fmt: skip
    made.train_from_iterator([CORPUS], trainer)
    raw = json.loads(made.to_str())  # bytes were given as specials to be there at all, and are plain pieces
    raw["added_tokens"] = [each for each in raw["added_tokens"] if each["content"] in tongue.marks]
    return _added(Tokenizer.from_str(json.dumps(raw)), tongue)


def of_bytes(tongue: Tongue) -> Tokenizer:
    """Pieces of bytes, cut at words, numbers and line ends; what ends a sentence takes the line's end along."""
    made = Tokenizer(models.BPE())
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=list(tongue.marks), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator([CORPUS], trainer)
    return _added(made, tongue)


# Spaces and line ends count in what follows: each line is as long as what it writes.

TURNS = Tongue(
    """{%- macro value(it) -%}
{%- if it is string -%}<|"|>{{ it }}<|"|>{%- elif it is boolean -%}{{ 'true' if it else 'false' }}
{%- elif it is none -%}null
{%- elif it is mapping -%}{{ object(it) }}
{%- elif it is iterable -%}[{% for each in it %}{{ ',' if not loop.first }}{{ value(each) }}{% endfor %}]
{%- else -%}{{ it }}
{%- endif -%}
{%- endmacro -%}
{%- macro object(it) -%}
{ {%- for key, each in it.items() %}{{ ',' if not loop.first }}{{ key }}:{{ value(each) }}{% endfor -%} }
{%- endmacro -%}
{%- set at = namespace(open=false) -%}
{{ bos_token }}
{%- for message in messages -%}
{%- if message.role in ('system', 'user') -%}
{{ '<|turn>' ~ message.role }}
{% if message.content is string -%}
{{ message.content | trim }}
{%- else -%}
{%- for part in message.content -%}
{{ part.text | trim if part.type == 'text' else '<|' ~ part.type ~ '|>' }}
{%- endfor -%}
{%- endif -%}
{%- if loop.first and tools -%}
{%- for tool in tools -%}
<|tool>declaration:{{ tool.function.name }}{{ object({'description': tool.function.description, 'parameters': tool.function.parameters}) }}<tool|>
{%- endfor -%}
{%- endif -%}
<turn|>
{% elif message.role == 'tool' -%}
<|tool_response>response:{{ message.name }}{{ object({'value': message.content}) }}<tool_response|>
{%- else -%}
{%- if not at.open -%}
<|turn>model
{% endif -%}
{{ message.content | trim }}
{%- for call in message.tool_calls or () -%}
<|tool_call>call:{{ call.function.name }}{{ object(call.function.arguments) }}<tool_call|>
{%- endfor -%}
{%- set at.open = message.tool_calls is defined and message.tool_calls -%}
{%- if not at.open -%}
<turn|>
{% endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not at.open -%}
<|turn>model
{% endif -%}
""",  # noqa: E501
    ("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
     "<|tool_response>", "<tool_response|>", '<|"|>', "<|channel>", "<channel|>", "<|think|>", "<|image>", "<image|>",
     "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>"),
    gemma4.Calls, with_bytes, {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
    sound=("<|audio>", "<|audio|>", "<audio|>"), picture=("<|image>", "<|image|>", "<image|>"), film="<|video|>",
)  # fmt: skip
"""As Gemma 4."""


class ChatmlCalls(JsonCalls):
    """A result is a turn of the user's."""

    def __init__(self, opened: str = "") -> None:
        before = "<|im_end|>\n<|im_start|>user\n<tool_response>\n"
        behind = f"\n</tool_response><|im_end|>\n<|im_start|>assistant\n{opened}"
        super().__init__("<tool_call>", "</tool_call>", before, behind)


_CHATML = """{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response><|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content }}
{%- if loop.first and tools %}
{{- '\\n\\nCall one of these tools where it helps.\\n<tools>' }}
{%- for tool in tools %}
{{- '\\n' ~ (tool | tojson) }}
{%- endfor %}
{{- '\\n</tools>\\nA call is an object with a name and arguments, between <tool_call> and </tool_call>.' }}
{%- endif %}
{%- for call in message.tool_calls or () %}
{{- ('\\n' if message.content) ~ '<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
{{- (call.function.arguments | tojson) ~ '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}THINKS
{%- endif %}
"""
_CHATML_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHATML_WORDS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
CHATML = Tongue(
    _CHATML.replace("THINKS", ""), _CHATML_MARKS, ChatmlCalls, of_bytes,
    {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, _CHATML_WORDS,
)  # fmt: skip
"""As Qwen 2.5."""
THOUGHT = "<think>\n\n</think>\n\n"
CHATML_THINKING = Tongue(
    _CHATML.replace("THINKS", "\n{%- if not enable_thinking %}\n{{- '<think>\\n\\n</think>\\n\\n' }}\n{%- endif %}"),
    _CHATML_MARKS, lambda: ChatmlCalls(THOUGHT), of_bytes,
    {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, _CHATML_WORDS, THOUGHT,
)  # fmt: skip
"""As Qwen 3, which has thought nothing where it is told not to think."""


class HeaderCalls(JsonCalls):
    """A result is a turn of the interpreter's."""

    def __init__(self) -> None:
        before = "<|start_header_id|>ipython<|end_header_id|>\n\n"
        behind = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        super().__init__("<|python_tag|>", "<|eom_id|>", before, behind, space="", key="parameters")


HEADERS = Tongue(
    """{{- bos_token }}
{%- for message in messages %}
{%- set role = 'ipython' if message.role == 'tool' else message.role %}
{{- '<|start_header_id|>' ~ role ~ '<|end_header_id|>\\n\\n' ~ message.content | trim }}
{%- if loop.first and tools %}
{{- '\\n\\nThere are tools. Answer with {"name": …, "parameters": …} to call one.\\n\\n' }}
{%- for tool in tools %}
{{- (tool | tojson(indent=4)) ~ '\\n\\n' }}
{%- endfor %}
{%- endif %}
{%- if message.tool_calls %}
{%- set call = message.tool_calls[0].function %}
{{- '<|python_tag|>{"name": "' ~ call.name ~ '", "parameters": ' ~ (call.arguments | tojson) ~ '}<|eom_id|>' }}
{%- else %}
{{- '<|eot_id|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    ("<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
     "<|python_tag|>"),
    HeaderCalls, of_bytes,
    {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|end_of_text|>"},
)  # fmt: skip
"""As Llama 3."""

CHATML_TAGGED = Tongue(
    CHATML.template.replace(
        "message.role ~ '\\n' ~ message.content }}",
        "message.role ~ '\\n' }}{% generation %}{{- message.content }}{% endgeneration %}",
    ),
    _CHATML_MARKS, ChatmlCalls, of_bytes, CHATML.settings, _CHATML_WORDS,
)  # fmt: skip
"""With tags around what is said, which say what to train on."""

TONGUES: Mapping[str, Tongue] = {
    "turns": TURNS, "chatml": CHATML, "chatml_thinking": CHATML_THINKING, "chatml_tagged": CHATML_TAGGED,
    "headers": HEADERS,
}  # fmt: skip
