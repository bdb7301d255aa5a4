"""The streaming networks and how each is fed: `LAWS`, what `test_laws.py` runs over.

A new streaming network adds one `Law` here. `make` gives the network (small, seeded), `feed` seeded input [B, blocks *
block, ...] along dimension 1, and `whole` the output for whole clips, in the form that `step` gives for one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from liveagent.nn.block import BlockConfig
from liveagent.nn.conformer import ConformerConfig
from liveagent.nn.decoder import Decoder, DecoderConfig, DecoderState
from liveagent.nn.ear import Ear, EarConfig
from liveagent.nn.eye import Eye, EyeConfig, EyeState, said
from liveagent.nn.framing import Budget
from liveagent.nn.lanes import copy_lane, keep, reset
from liveagent.nn.mel import Mel, MelConfig
from liveagent.nn.pool_projector import PoolProjector
from liveagent.nn.projector import Projector
from liveagent.nn.raw_ear import RawEar
from liveagent.nn.raw_eye import RawEye, RawEyeConfig, RawEyeState
from liveagent.nn.row_ear import RowEar, RowEarConfig
from liveagent.nn.row_eye import RowEye, RowEyeState
from liveagent.nn.scribe import Scribe, ScribeConfig, ScribeState
from liveagent.nn.stack import Stack, StackConfig
from liveagent.nn.stem import StemConfig
from liveagent.nn.transducer import Transducer, TransducerConfig, TransducerState
from liveagent.nn.vad import Vad
from liveagent.nn.vit import Vit
from liveagent.nn.vit_config import VitConfig


@dataclass(frozen=True)
class Law:
    """One streaming network under the laws.

    `exact`: the whole is bit-equal to the stream; otherwise within 1e-5. `chunks`: how many blocks one step may take.
    """

    name: str
    make: Callable[[], Any]
    feed: Callable[[int, int], Tensor]  # (lanes, blocks) -> input
    block: int  # length of a block along dimension 1
    whole: Callable[[Any, Tensor], Any]
    chunks: tuple[int, ...] = (1,)
    exact: bool = False


def outputs(value: Any) -> list[Tensor]:
    """The tensors of an output, each [B, T, ...]."""
    if isinstance(value, Tensor):
        return [value]
    assert isinstance(value, Iterable)
    return [t for part in value for t in outputs(part)]


def sound(lanes: int, blocks: int, block: int) -> Tensor:
    """Seeded sound: noise that swells, with a tone."""
    torch.manual_seed(lanes * 1000 + blocks)
    t = torch.arange(blocks * block) / 16_000
    tone = torch.sin(6.28 * (200 + 300 * torch.rand(lanes, 1)) * t)
    return 0.3 * torch.rand(lanes, 1) * tone + 0.1 * torch.randn(lanes, blocks * block) * (1 + torch.sin(5 * t))


def small_ear() -> Ear:
    """An ear of the shipped shape, narrow, with random weights."""
    torch.manual_seed(3)
    return Ear(EarConfig(pieces=31, width=32, layers=3, heads=2, stem=4, left=12, kernel=5)).eval()


def causal_ear() -> RowEar:
    """A token at a time: norms behind the parts, clipped products, relative places, scores that bend."""
    torch.manual_seed(9)
    block = ConformerConfig(
        24, 3, 40, 5, left=7, norm="rms", bias=False, depth_bias=False, post_norms=True, places="relative", cap=3.0,
        clamp=2.0, clips=True, sortable=True,
    )  # fmt: skip
    stem = StemConfig(20, 24, (6, 5), bias=False, norm=True)
    return _drawn(
        RowEar(Mel(config=MelConfig(20, 320, emphasis=0.0, exact=True)), RowEarConfig(stem, block, 2, 20, 16))
    )


def chunked_ear() -> RowEar:
    """Three tokens at a time, eight frames a token, frames that end late, biases for tokens and distances."""
    torch.manual_seed(10)
    block = ConformerConfig(24, 3, 40, 4, chunk=3, left=6, places="relative biased", sortable=True)
    stem = StemConfig(20, 24, (4, 4, 4), behind=True, separable=True)
    return _drawn(RowEar(Mel(config=MelConfig(20, late_samples=1080)), RowEarConfig(stem, block, 2, 16)))


def _drawn(net: RowEar) -> RowEar:
    for name, tensor in net.named_parameters():
        torch.nn.init.normal_(tensor, std=tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 0.4)
        tensor.requires_grad_(False).add_("norm" in name or "mid" in name or "after" in name)
    return net.eval()


def raw_ear() -> RawEar:
    """Without an encoder: samples, normed, through one product."""
    torch.manual_seed(12)
    return RawEar(40, 24).eval().requires_grad_(False)


class Dictated:
    """A transducer in the suite's form: the pieces of each token of sound as numbers."""

    def __init__(self) -> None:
        self.net = Transducer(chunked_ear(), TransducerConfig(12, 16, 2, blank=11, most=3)).eval()
        torch.manual_seed(11)
        for tensor in [*self.net.layers.parameters(), *self.net.project.parameters(), *self.net.head.parameters()]:
            tensor.requires_grad_(False).normal_(std=0.4)
        with torch.no_grad():  # rows that differ, blanks for some of them
            self.net.ear.out.weight.mul_(10)
            self.net.ear.out.bias.sub_(self.net.ear(sound(4, 14, 3840)).mean((0, 1)))
            self.net.head.bias[11] += 0.7
        self.net.embed.weight.requires_grad_(False)
        self.init_state, self.reset, self.copy_lane = self.net.init_state, self.net.reset, self.net.copy_lane

    def step(self, x: Tensor, state: TransducerState, active: Tensor) -> Tensor:
        return self.net.step(x, state, active).float()

    def __call__(self, x: Tensor) -> Tensor:
        pieces: Tensor = self.net(x)
        return pieces.float()


def random_vad() -> Vad:
    """The voice detector's shape with random weights: the laws need no package of weights."""
    torch.manual_seed(5)
    return Vad().eval().requires_grad_(False)


class TokenByToken:
    """The decoder in the suite's form: input rows in, logits of every token out, a whole block or nothing per lane."""

    back = 256
    net: Stack

    def __init__(self, **more: Any) -> None:
        torch.manual_seed(4)
        self.net = Decoder(DecoderConfig(50, width=32, layers=2, heads=2, hidden=48, **more)).eval()

    def init_state(self, lanes: int) -> DecoderState:
        return self.net.init_state(lanes, 128, self.back)

    def step(self, x: Tensor, state: DecoderState, active: Tensor) -> Tensor:
        return self.net.logits(self.net.read(x, active.long() * x.shape[1], state))

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(rows=x)

    def reset(self, state: DecoderState, lane: int) -> None:
        self.net.reset(state, lane)

    def copy_lane(self, src_state: DecoderState, src: int, dst_state: DecoderState, dst: int) -> None:
        self.net.copy_lane(src_state, src, dst_state, dst)


def local_window() -> TokenByToken:
    """One layer sees seven tokens, one sees all; heads share keys. Long streams go several times round the ring."""
    made = TokenByToken(kv_heads=1, windows=(7, 0))
    made.back = 4
    return made


class Pairs(TokenByToken):
    """A decoder that is shown pictures of two rows; in the layer with a window the first sees the second too."""

    def __init__(self) -> None:
        torch.manual_seed(14)
        near, far = (BlockConfig(32, 2, 1, 16, 48, window=window) for window in (7, 0))
        self.net = Stack(StackConfig(50, 32, (near, far, near), ahead=2)).eval()
        self.back = 4

    def _rows(self, x: Tensor) -> Tensor:
        return self.net.rows(x, 0, (torch.arange(x.shape[1]) + 1) % 2)

    def step(self, x: Tensor, state: DecoderState, active: Tensor) -> Tensor:
        return super().step(self._rows(x), state, active)

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(rows=self._rows(x))


class Writing:
    """The scribe in the suite's form: rows of tokens in, logits out; every lane hears the same clip from the start."""

    def __init__(self) -> None:
        torch.manual_seed(8)
        self.net = Scribe(ScribeConfig(40, 32, layers=2, heads=2, hidden=48, places=80, rows=12)).eval()
        self.net.requires_grad_(False)
        self.net.positions.normal_(std=0.5)
        self.clip = torch.randn(12, 32)

    def init_state(self, lanes: int) -> ScribeState:
        state = self.net.init_state(lanes)
        for lane in range(lanes):
            self.net.listen(self.clip, state, lane)
        return state

    def step(self, x: Tensor, state: ScribeState, active: Tensor) -> Tensor:
        return self.net.logits(self.net.read(x, active.long() * x.shape[1], state))

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(None, self.clip.expand(len(x), -1, -1), rows=x)

    def reset(self, state: ScribeState, lane: int) -> None:
        self.net.reset(state, lane)
        self.net.listen(self.clip, state, lane)

    def copy_lane(self, src_state: ScribeState, src: int, dst_state: ScribeState, dst: int) -> None:
        self.net.copy_lane(src_state, src, dst_state, dst)


def token_rows(lanes: int, tokens: int) -> Tensor:
    """Seeded input rows of the decoder."""
    torch.manual_seed(lanes * 1000 + tokens)
    return torch.randn(lanes, tokens, 32)


class Onlooker:
    """An eye of pictures of any shape in the suite's form, at threshold 0: places that turn and are added, norms of
    heads, gates, bounds; a row for each four patches."""

    def __init__(self) -> None:
        self.net: Any = self._made()
        self.net.eval().requires_grad_(False)

    def _made(self) -> RowEye | RawEye:
        torch.manual_seed(8)
        config = VitConfig(
            image_px=0, most=80, patch_px=8, width=24, layers=3, heads=4, kv_heads=2, head=8, feed=40, stem=0, axes=12,
            rms=True, head_norms=True, sandwich=True, gated=True, clipped=True, scale=1.0, rope=50.0, norm_last=False,
        )  # fmt: skip
        vit, framing = Vit(config), Budget(64, 8, 2)
        vit.moved, vit.probe = 0.0, 1
        vit.positions.data.normal_()
        return RowEye(vit, PoolProjector(24, 10, 2, 1e-6, standardize=True), framing, framing)

    def init_state(self, lanes: int) -> OnlookerState:
        return OnlookerState(self.net.init_state(lanes), torch.zeros(lanes, 3, 64, 64))

    def step(self, x: Tensor, state: OnlookerState, active: Tensor) -> Tensor:
        rows = []
        for pixels in x.unbind(1):
            rows.append(self.net.step(pixels, apart(pixels, state.shown), state.eye, active))
            keep(state.shown, pixels, active)
        return torch.stack(rows, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def reset(self, state: OnlookerState, lane: int) -> None:
        reset(state, lane)

    def copy_lane(self, src_state: OnlookerState, src: int, dst_state: OnlookerState, dst: int) -> None:
        copy_lane(src_state, src, dst_state, dst)


def apart(pixels: Tensor, shown: Tensor) -> Tensor:
    """Which patches `[B, 64]` of two pictures differ; one that holds no number always does."""
    found = (pixels != shown).view(len(pixels), 3, 8, 8, 8, 8).permute(0, 2, 4, 1, 3, 5)
    return found.flatten(3).any(3).flatten(1)


class RawOnlooker(Onlooker):
    """One without an encoder: a row for each patch, of that patch alone."""

    def _made(self) -> RawEye:
        torch.manual_seed(13)
        framing = Budget(64, 8, 1)
        net = RawEye(RawEyeConfig(8, 24, 10, 12), framing, framing)
        net.positions.data.normal_()
        return net


@dataclass
class OnlookerState:
    """The eye's own, and what the camera showed last."""

    eye: RowEyeState | RawEyeState
    shown: Tensor  # [B, 3, 64, 64]


@dataclass
class WatchingState:
    """The eye's own, and what the camera showed last."""

    eye: EyeState
    shown: Tensor  # [B, 3, H, W]
    rows: Tensor  # [B, 16, 8] what the decoder was given


class Watching:
    """Eye and projector in the suite's form: pictures in, each seen from the one before, at threshold 0; out comes what
    the eye says and the decoder's rows for it. Which patches changed is told exactly, so that most go by the gather
    path; a patch that holds no number has always changed."""

    def __init__(self) -> None:
        torch.manual_seed(6)
        config = VitConfig(image_px=64, patch_px=8, width=24, layers=3, heads=2, times=2, stem=4)
        self.eye = Eye(EyeConfig(config, hidden=16)).eval().requires_grad_(False)
        self.eye.vit.moved, self.eye.vit.probe = 0.0, 1
        self.projector = Projector(20, 16, 8, hidden=12).requires_grad_(False)

    def _project(self, sight: Tensor) -> Tensor:
        return self.projector(sight, torch.arange(16).expand(sight.shape[:-1]))

    def init_state(self, lanes: int) -> WatchingState:
        return WatchingState(self.eye.init_state(lanes), torch.zeros(lanes, 3, 64, 64), torch.zeros(lanes, 16, 8))

    def step(self, x: Tensor, state: WatchingState, active: Tensor) -> tuple[Tensor, Tensor]:
        said_rows = []
        for pixels in x.unbind(1):
            sight = self.eye.step(pixels, apart(pixels, state.shown), state.eye, active)
            keep(state.shown, pixels, active)
            keep(state.rows, self._project(sight), active)
            said_rows.append((sight, state.rows.clone()))
        sights, rows = zip(*said_rows, strict=True)
        return torch.stack(sights, 1), torch.stack(rows, 1)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sight = said(self.eye(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        return sight, self._project(sight)

    def reset(self, state: WatchingState, lane: int) -> None:
        reset(state, lane)

    def copy_lane(self, src_state: WatchingState, src: int, dst_state: WatchingState, dst: int) -> None:
        copy_lane(src_state, src, dst_state, dst)


def pictures(lanes: int, frames: int) -> Tensor:
    """Seeded pictures from 0 to 1, [B, T, 3, 64, 64]: some patches change from each to the next; some stand still."""
    torch.manual_seed(lanes * 1000 + frames)
    shown, clip = torch.rand(lanes, 3, 64, 64), []
    for i in range(frames):
        share = (0.1, 0.3, 0.0, 0.7)[i % 4]
        changed = (torch.rand(lanes, 1, 8, 8) < share).repeat_interleave(8, 2).repeat_interleave(8, 3)
        shown = torch.where(changed, torch.rand(lanes, 3, 64, 64), shown)
        clip.append(shown)
    return torch.stack(clip, 1)


LAWS: list[Law] = [
    Law("mel", Mel, lambda b, n: sound(b, n, 160), 160, lambda net, x: net(x), (1, 2, 3, 7, 16), exact=True),
    Law("ear", small_ear, lambda b, n: sound(b, n, 2560), 2560, lambda net, x: net(x)),
    Law("row ear", causal_ear, lambda b, n: sound(b, n, 640), 640, lambda net, x: net(x), (1, 2, 5)),
    Law("raw ear", raw_ear, lambda b, n: sound(b, n, 40), 40, lambda net, x: net(x), (1, 2, 5)),
    Law("row ear of chunks", chunked_ear, lambda b, n: sound(b, n, 3840), 3840, lambda net, x: net(x), (1, 2)),
    Law("transducer", Dictated, lambda b, n: sound(b, n, 3840), 3840, lambda net, x: net(x), (1, 2), exact=True),
    Law("vad", random_vad, lambda b, n: sound(b, n, 512), 512, lambda net, x: net(x), (1, 2, 3, 5)),
    Law("decoder", TokenByToken, token_rows, 1, lambda net, x: net(x), (1, 2, 8)),
    Law("decoder with a local window", local_window, token_rows, 1, lambda net, x: net(x), (1, 2, 8)),
    Law("decoder that looks ahead", Pairs, lambda b, n: token_rows(b, 2 * n), 2, lambda net, x: net(x), (1, 2, 5)),
    Law("scribe", Writing, token_rows, 1, lambda net, x: net(x), (1, 2, 8)),
    Law("eye", Watching, pictures, 1, lambda net, x: net(x), (1, 3)),
    Law("eye that gives rows", Onlooker, pictures, 1, lambda net, x: net(x), (1, 3)),
    Law("raw eye", RawOnlooker, pictures, 1, lambda net, x: net(x), (1, 3), exact=True),
]
