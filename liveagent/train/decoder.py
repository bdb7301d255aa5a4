"""Trains the decoder: `python -m liveagent.train.decoder --pieces pieces.json --out DIR --until 09:50`.

It reads text, and pictures as an eye says them; `--pools` is a folder of an eye's readings, which may come later than
the start.

One process, one core, seeded; resumable (`DIR/last.pt`), ending at a wall time, because on a shared machine time is
what there is. Matrices learn by Muon (Jordan et al. 2024; `torch.optim.Muon`), everything else by AdamW; the weights
that are evaluated and exported are an exponential average.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from liveagent.nn.decoder import Decoder, DecoderConfig
from liveagent.nn.pieces import Pieces
from liveagent.sight import COLOUR, COLOURS, SHAPE, SHAPES, WIDTH
from liveagent.train import tree
from liveagent.train.dialogues import Row
from liveagent.train.looks import Looks
from liveagent.train.scene_words import NUMBERS
from liveagent.train.tree import Tree, shared_tokens

BATCH_TOKENS = 3072
POOL_ROWS = 240
"""Rows that are drawn at once, with one shared prompt, and sorted by length."""
PROBE_WEIGHT = 0.7
EASY_TOKENS = 5_000_000
LOOK_SHARE = 0.64
TIME_PAIRS = 8
GAZES, GAZE_WEIGHT = ((2, 3), (3, 3)), 0.15
"""Layers and heads that are taught to look at what an answer rests on."""


class Batch:
    """Rows as tensors: trunks padded to one length T, then P leaves. Padding hides behind causal order."""

    def __init__(self, rows: list[Row], pieces: Pieces) -> None:
        lanes, trunk, leaf = len(rows), max(len(row.ids) for row in rows), max(len(row.leaves) for row in rows)
        self.rows, self.trunk = rows, trunk
        self.ids = torch.full((lanes, trunk + leaf), pieces.id("<pad>"), dtype=torch.long)
        self.targets = torch.full((lanes, trunk + leaf), -1, dtype=torch.long)
        self.weights = torch.zeros(lanes, trunk + leaf)
        self.ids[:, trunk:] = pieces.id("<eou>")
        self.mixes: list[tuple[int, int, int, float]] = []
        places: list[tuple[int, int, int]] = []
        sights: list[NDArray[np.float32]] = []
        for b, row in enumerate(rows):
            n = len(row.ids)
            self.ids[b, :n] = torch.tensor(row.ids)
            self.targets[b, :n] = torch.tensor(row.targets)
            self.weights[b, :n] = torch.tensor(row.weights)
            for p, (_, answer) in enumerate(row.leaves):
                self.targets[b, trunk + p], self.weights[b, trunk + p] = answer, PROBE_WEIGHT
            self.mixes += [(b, i, other, share) for i, other, share in row.mixes]
            places += [(b, i, cell) for i, cell in row.cells]
            sights += row.sights
        self.tree = Tree.of(rows, shared_tokens(rows), trunk, leaf)
        gazes = [
            (b, i, cells)
            for b, row in enumerate(rows)
            for first, end, cells in row.gazes
            for i in range(first, end)
            if row.weights[i]
        ]
        self.gazing = [(b, i) for b, i, _ in gazes]
        self.gazed = torch.zeros(len(gazes), trunk + leaf, dtype=torch.bool)
        for number, (_, _, cells) in enumerate(gazes):
            self.gazed[number, cells] = True
        self.places = torch.tensor(places).T if places else None
        fresh = [at for at, (b, i, _) in enumerate(places) if at and places[at - 1][:2] != (b, i - 1)]
        self.pictures = torch.zeros(len(places), dtype=torch.long)
        self.pictures[fresh] = 1
        self.pictures = self.pictures.cumsum(0)  # of each cell
        self.sights = torch.from_numpy(np.stack(sights)) if sights else torch.zeros(0, WIDTH)

    @property
    def tokens(self) -> int:
        """How many places are read."""
        return len(self.tree.parents)

    def hidden(
        self, net: Decoder, only: Tensor | None = None, attended: Callable[[int, Tensor, Tensor], None] | None = None
    ) -> Tensor:
        """The decoder's hidden rows `[B, T + P, D]` (or those where `only` is true, `[N, D]`), soft pieces mixed in."""
        rows = net.embed(self.ids)
        if self.mixes:
            lane, place, other, share = zip(*self.mixes, strict=True)
            at = (torch.tensor(lane), torch.tensor(place))
            part = torch.tensor(share)[:, None]
            mixed = rows[at] * (1 - part) + net.embed(torch.tensor(other)) * part
            rows = rows.index_put(at, mixed)
        if self.places is not None:
            b, i, cell = self.places
            rows = rows.index_put((b, i), net.see_embed(self.sights, cell, self.pictures).to(rows.dtype))
        packed = self.tree.pack(rows)
        if only is not None:
            return tree.hidden(net, packed, self.tree, self.tree.pack(only), attended)
        return self.tree.unpack(tree.hidden(net, packed, self.tree, attended=attended))

    def grey(self) -> Batch:
        """The same, with an empty, surely seen table in place of every picture."""
        self.sights = torch.zeros_like(self.sights)
        self.sights[:, 0] = 1.0
        return self


def loss_of(net: Decoder, batch: Batch) -> Tensor:
    """Weighted cross-entropy in nats; only weighted places reach the output layer. Beside it, where an answer rests on
    few cells of a picture, heads are taught to look at them (Liu et al., "Neural Machine Translation with Supervised
    Attention", 2016): found by the answers alone, that look-up takes many more examples."""
    at = batch.weights > 0
    weights = batch.weights[at]
    gaze: list[Tensor] = []

    def attended(number: int, scores: Tensor, rows_of: Tensor) -> None:
        heads = (head for layer, head in GAZES if layer == number and batch.gazing)
        gaze.extend(missed(scores[:, head], rows_of, batch) for head in heads)

    loss = F.cross_entropy(net.logits(batch.hidden(net, at, attended)).float(), batch.targets[at], reduction="none")
    total = (loss * weights).sum() / weights.sum()
    return total + GAZE_WEIGHT * torch.stack(gaze).sum() if gaze else total


def missed(scores: Tensor, rows_of: Tensor, batch: Batch) -> Tensor:
    """Minus the logarithm of the share of a head's attention that falls where it should; scores `[B, M, P + S]`, of
    which `rows_of [B, S]` says which row is whose."""
    lanes, places = (torch.tensor(each) for each in zip(*batch.gazing, strict=True))
    asked = scores[lanes, rows_of[lanes, places - batch.tree.stem]].float()
    there = asked.masked_fill(~batch.gazed, float("-inf"))
    return (asked.logsumexp(-1) - there.logsumexp(-1)).mean()


@torch.inference_mode()
def evaluate(
    net: Decoder, rows: list[Row], pieces: Pieces, bf16: bool = False, blind: bool = False
) -> dict[str, float]:
    """Share of the agent's turns whose every token is the likeliest (which is greedy decoding's exactness), by group;
    `false_accept`: share of turns to be rejected that would start with a call; `eou`: probes answered right. `blind`
    shows an empty table in place of every picture."""
    call = pieces.id("<call>")
    good: dict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(rows), 8):
        batch = Batch(rows[start : start + 8], pieces)
        batch = batch.grey() if blind else batch
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            guess = net.logits(batch.hidden(net)).argmax(-1)
        right = guess == batch.targets
        for b, row in enumerate(batch.rows):
            for group, first, end in row.spans:
                good[group].append(bool(right[b, first:end].all()))
                if group == "reject":
                    good["false_accept"].append(int(guess[b, first]) == call)
                elif group.startswith("call"):
                    good["false_reject"].append(int(guess[b, first]) != call)
            good["eou"] += right[b, batch.trunk : batch.trunk + len(row.leaves)].tolist()
    return {group: sum(hits) / len(hits) for group, hits in sorted(good.items())}


@torch.no_grad()
def see_words(net: Decoder, pieces: Pieces) -> None:
    """Start the projector where a cell looks like the words for what is in it, for the third in which it lies and for
    how many there are, so that what the decoder knows of copying words holds for pictures from the first step."""
    assert net.projector is not None and net.projector.more is not None
    up, down, more = net.projector.up, net.projector.down, net.projector.more.weight
    nn.init.normal_(more, std=2 / more.shape[0] ** 0.5)

    def word(text: str) -> Tensor:
        return F.normalize(net.embed(torch.tensor(pieces.encode(text))).mean(0), dim=0)

    down.weight.mul_(0.3)
    for first, words in ((COLOUR.start, COLOURS), (SHAPE.start, SHAPES)):
        for place, name in enumerate(words, first):
            up.weight[place].zero_()
            up.bias[place] = 0.0
            up.weight[place, place] = 2.0
            down.weight[:, place] = 2 * word(name)
    for quantity in range(4):
        for number, name in enumerate(NUMBERS):
            more[:, quantity * len(NUMBERS) + number] += word(name.capitalize()) * (2 if quantity == 0 else 1)
    for third, name in enumerate(("left", "middle", "right")):
        more[:, 4 * len(NUMBERS) + third] = 2 * word(name)


class Average:
    """Exponential moving average of a network's weights."""

    def __init__(self, net: Decoder) -> None:
        self.weights = {name: p.detach().clone() for name, p in net.named_parameters()}
        self.steps = 0

    @torch.no_grad()
    def update(self, net: Decoder) -> None:
        self.steps += 1
        keep = min(0.998, self.steps / (self.steps + 20))
        for name, p in net.named_parameters():
            self.weights[name].lerp_(p.detach(), 1 - keep)


def optimizers(net: Decoder, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and gains. `hear` has nothing to learn from text."""
    matrices = [p for name, p in net.named_parameters() if p.ndim == 2 and name.startswith(("layers.", "before."))]
    rest = [p for name, p in net.named_parameters() if not (p.ndim == 2 and name.startswith(("layers.", "before.")))]
    rest = [p for p in rest if p is not net.hear.weight]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def pace(done: float, warm: float) -> float:
    """Learning rate as a share of its peak: a short rise, then a cosine to 2 %."""
    return min(1.0, warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Training:
    """Everything that changes while training, and how it is saved."""

    def __init__(
        self, pieces: Pieces, config: DecoderConfig, out: Path, rate: float, seed: int, pools: Path | None = None
    ) -> None:
        torch.manual_seed(seed)
        self.pools, self.began_tokens, self.look_share = pools, 0, LOOK_SHARE
        self.pieces, self.config, self.out, self.rate, self.seed = pieces, config, out, rate, seed
        self.net = Decoder(config)
        self.average = Average(self.net)
        self.optimizers = optimizers(self.net, rate)
        self.step, self.tokens, self.done_s = 0, 0, 0.0
        self.stopped = False

    def stop(self, *_: object) -> None:
        """After the step at hand: save, and end the training."""
        self.stopped = True

    def save(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            "config": self.config.as_dict(), "net": self.net.state_dict(), "average": self.average.weights,
            "average_steps": self.average.steps, "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step, "tokens": self.tokens, "done_s": self.done_s,
            "began_tokens": self.began_tokens,
        }  # fmt: skip
        torch.save(state, self.out / "last.tmp")
        (self.out / "last.tmp").replace(self.out / "last.pt")

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, or from exported weights. What a checkpoint without eyes has no weights for begins
        as `see_words` says."""
        if path.suffix == ".safetensors":
            self.net.load_state_dict(Decoder.load(path, self.pieces.hash, self.config.hear_width).state_dict())
            self.average = Average(self.net)
            self.began_tokens = -EASY_TOKENS
            return
        state = torch.load(path, weights_only=True)
        self.step, self.tokens, self.done_s = state["step"], state["tokens"], state["done_s"]
        if not state["config"].get("sight_width"):
            self.net.load_state_dict(state["average"], strict=False)
            see_words(self.net, self.pieces)
            self.average = Average(self.net)
            self.began_tokens = self.tokens
            return
        self.began_tokens = state.get("began_tokens", 0)
        self.net.load_state_dict(state["net"])
        self.average.weights, self.average.steps = state["average"], state["average_steps"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def averaged(self) -> Decoder:
        net = Decoder(self.config)
        net.load_state_dict(self.average.weights)
        return net.eval()

    def batches(self) -> Any:
        """Endless batches of about BATCH_TOKENS, of rows of like length, those with the shared prompt among themselves;
        easy rows first, because copying is learned faster where there is less to look at."""
        source = Looks(self.pieces, self.seed * 1_000_003 + self.step, share=self.look_share, pools=self.pools)
        while True:
            source.ease = max(0.0, 1.0 - (self.tokens - self.began_tokens) / EASY_TOKENS)
            source.renew()
            assert source.shared is not None
            prompt = source.shared[0]
            pool = sorted((source.next() for _ in range(POOL_ROWS)), key=lambda row: len(row.ids))
            apart: tuple[list[Row], list[Row]] = [], []
            for row in pool:
                apart[row.ids[: len(prompt)] == prompt].append(row)
            groups: list[list[Row]] = []
            for stem, rows in zip((0, len(prompt)), apart, strict=True):
                group: list[Row] = []
                for row in rows:
                    if group and (len(row.ids) + len(row.leaves) - stem) * (len(group) + 1) > BATCH_TOKENS:
                        groups.append(group)
                        group = []
                    group.append(row)
                groups += [group] if group else []
            source.rng.shuffle(groups)
            for group in groups:
                yield Batch(group, self.pieces)

    def run(self, until: float, eval_s: float, bf16: bool, warm: int = 60) -> None:
        """Train up to the wall time `until` (seconds since 1970)."""
        unseen = Looks(self.pieces, seed=77, held_out=True, share=0.0)
        rows = [unseen.next() for _ in range(48)]
        unseen.share = 1.0
        rows += [unseen.next() for _ in range(240)]
        begun = last = time.time()
        before_s, first = self.done_s, self.step
        loss_sum, loss_count, next_eval = 0.0, 0, begun + eval_s / 3
        for batch in self.batches():
            now = time.time()
            if now >= until or self.stopped:
                break
            self.done_s = before_s + now - begun
            share = (now - begun) / (until - begun)
            rate = self.rate * pace(share, (self.step - first + 1) / warm)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = loss_of(self.net, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.average.update(self.net)
            self.step += 1
            self.tokens += batch.tokens
            loss_sum, loss_count = loss_sum + float(loss.detach()), loss_count + 1
            if self.step % 20 == 0:
                took = time.time() - last
                last = time.time()
                print(f"step {self.step} loss {loss_sum / loss_count:.4f} rate {rate:.2e} s/step {took / 20:.2f} "
                      f"tokens {self.tokens / 1e6:.2f}M", flush=True)  # fmt: skip
                loss_sum, loss_count = 0.0, 0
            if time.time() > next_eval:
                self.report(rows)
                self.save()
                next_eval = last = time.time()
                next_eval += eval_s
        self.save()
        if not self.stopped:
            self.report(rows)

    def report(self, rows: list[Row]) -> None:
        net = self.averaged()
        scores = evaluate(net, rows, self.pieces, True)
        blind = evaluate(net, rows[48:], self.pieces, True, blind=True)
        scores |= {f"blind_{k}": v for k, v in blind.items() if k in ("colour", "count", "where", "exists")}
        line = {"step": self.step, "time": datetime.now(UTC).isoformat(timespec="seconds")} | {
            k: round(v, 4) for k, v in scores.items()
        }
        print("EVAL " + json.dumps(line), flush=True)
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "eval.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def wall_time(text: str) -> float:
    """`09:50` (UTC, the next one to come) or minutes from now (`30m`), as seconds since 1970."""
    now = datetime.now(UTC)
    if text.endswith("m"):
        return (now + timedelta(minutes=float(text[:-1]))).timestamp()
    hour, minute = map(int, text.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (then if then > now else then + timedelta(days=1)).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--until", default="30m", help="UTC time (09:50) or minutes (30m)")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--eval-s", type=float, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--resume", type=Path, help="a last.pt, or exported weights; the learning rate starts anew")
    parser.add_argument("--pools", type=Path, help="a folder with readings of an eye (pool-*.npz), now or later")
    parser.add_argument("--looks", type=float, default=LOOK_SHARE, help="share of the tokens that is about pictures")
    parser.add_argument("--warm", type=int, default=60, help="steps until the learning rate is at its peak")
    parser.add_argument("--export", type=Path, help="write the averaged weights of --out/last.pt here and stop")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pieces = Pieces.load(args.pieces)
    source = args.out / "last.pt" if args.export else args.resume
    if source and source.suffix == ".safetensors":
        config = Decoder.load(source, pieces.hash).config
    elif source:
        config = DecoderConfig(**torch.load(source, weights_only=True)["config"])
    else:
        config = replace(DecoderConfig(pieces.vocab_size), layers=args.layers)
    config = replace(config, time_pairs=TIME_PAIRS, sight_width=WIDTH)
    training = Training(pieces, config, args.out, args.rate, args.seed, args.pools)
    if source:
        training.resume(source)
    if args.export:
        notes = {"steps": training.step, "tokens": training.tokens, "seconds": round(training.done_s)}
        args.export.parent.mkdir(parents=True, exist_ok=True)
        training.averaged().save(args.export, pieces.hash, notes)
        print(f"{args.export}: {args.export.stat().st_size / 1e6:.1f} MB, {notes}")
        return
    training.look_share = args.looks
    signal.signal(signal.SIGTERM, training.stop)
    training.run(wall_time(args.until), args.eval_s, args.bf16, args.warm)


if __name__ == "__main__":
    main()
