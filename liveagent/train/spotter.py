"""Train the spotter of the stop word on scenes of the word and of everything else, in rooms and noise; an hour.

    python -m liveagent.train.stops make SPEECH
    python -m liveagent.train.spotter SPEECH FOLDER WEIGHTS [MINUTES]

FOLDER keeps the scenes and a checkpoint, from which training goes on; WEIGHTS gets the mean of the late weights.
"""

from __future__ import annotations

import json
import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liveagent.nn.spotter import BANDS, DILATIONS, FILE, KERNEL, STEP
from liveagent.train.stop_scenes import CLEAR_DB, NO, NO_IF_CLEAR, SOMEWHERE, UNSURE, YES, made, mixed

MANY = {"scene": 33_600, "noise": 4_000, "residue": 400}
PART = 400
BATCH, WIDTH, LEARN = 48, 96, 3e-3
MINUTES = 22.0
"""Of one core. With more it learns its voices by heart: those it hears as well, others less."""
CLEAR_WEIGHS = 4.0
DROPPED = 0.1
KEEP = 0.999
"""Of the mean weights, a step."""
WORST = 6
"""Steps of a scene that look most like the word, and are none: they weigh as much as all others."""


class Net(nn.Module):
    """As `Spotter`, in torch, for whole scenes: [B, T, 40] to logits [B, T / 2]."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(STEP * BANDS if at == 0 else width, width, KERNEL, dilation=dilation)
            for at, dilation in enumerate(DILATIONS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in DILATIONS)
        self.head = nn.Linear(width, 1)
        nn.init.constant_(self.head.bias, -3.0)

    def forward(self, frames: Tensor) -> Tensor:
        steps = frames.shape[1] // STEP
        x = frames[:, : steps * STEP].reshape(len(frames), steps, STEP * BANDS).transpose(1, 2)
        for at, (conv, norm, dilation) in enumerate(zip(self.convs, self.norms, DILATIONS, strict=True)):
            y = torch.relu(norm(conv(nn.functional.pad(x, ((KERNEL - 1) * dilation, 0)))))
            y = nn.functional.dropout(y, DROPPED, self.training)
            x = y if at == 0 else x + y
        logits: Tensor = self.head(x.transpose(1, 2)).squeeze(-1)
        return logits

    @torch.no_grad()
    def weights(self) -> dict[str, np.ndarray]:
        """As `Spotter` wants them: the norms are part of the convolutions there."""
        found = {}
        for at, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            assert isinstance(conv, nn.Conv1d) and isinstance(norm, nn.BatchNorm1d)
            assert conv.bias is not None and norm.running_var is not None and norm.running_mean is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            found[f"conv{at}.weight"] = (conv.weight * scale[:, None, None]).permute(2, 1, 0).contiguous().numpy()
            found[f"conv{at}.bias"] = ((conv.bias - norm.running_mean) * scale + norm.bias).numpy()
        found["head.weight"] = self.head.weight[0].numpy().copy()
        found["head.bias"] = self.head.bias.numpy().copy()
        return found


def of_steps(marks: np.ndarray, snr_db: np.ndarray) -> np.ndarray:
    """[B, T / 2] what holds at the second frame of each step, in this noise."""
    steps = marks[:, 1::STEP].astype(np.int8)
    clear = (snr_db > CLEAR_DB)[:, None]
    return np.where(steps == NO_IF_CLEAR, np.where(clear, NO, UNSURE), steps)


def loss_of(logits: Tensor, marks: Tensor, clear: Tensor) -> Tensor:
    """Each step that counts, the worst of each scene once more, and the best of those of which one must be the word.
    clear: [B] where a stop would be so plain that what is doubtful is none; in noise it may be one."""
    yes, no, somewhere = marks == YES, marks == NO, marks == SOMEWHERE
    missed, false = nn.functional.softplus(-logits), nn.functional.softplus(logits)
    sure = torch.sigmoid(logits.detach())
    false = false * torch.where(clear, CLEAR_WEIGHS, 1.0)[:, None]
    total = (missed * (1 - sure).clamp_min(0.2) * yes).sum() * 4 + (false * sure.clamp_min(0.05) * no).sum()
    total = total + (false * no).topk(WORST, 1).values.sum() * 0.5
    pooled = nn.functional.avg_pool1d(logits[:, None], 4, 1)[:, 0]
    inside = nn.functional.avg_pool1d(somewhere[:, None].float(), 4, 1)[:, 0] > 0.99
    best = pooled.masked_fill(~inside, -1e4).max(1).values
    total = total + (nn.functional.softplus(-best) * inside.any(1)).sum() * 20
    return total / len(logits)


class Bank:
    """All scenes, noises and residues, made once and kept in a folder."""

    def __init__(self, speech: str, folder: Path, workers: int = 2) -> None:
        jobs = [(what, at) for what, many in MANY.items() for at in range(math.ceil(many / PART))]
        missing = [(what, at) for what, at in jobs if not (folder / f"{what}-{at}.npz").exists()]
        with ProcessPoolExecutor(workers) as pool:
            for future in [pool.submit(_make, speech, folder, *each) for each in missing]:
                future.result()
        parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {what: [] for what in MANY}
        for what, at in jobs:
            with np.load(folder / f"{what}-{at}.npz") as data:
                parts[what].append((data["bands"], data["marks"]))
        self.scenes, self.noises, self.residues = (
            np.concatenate([bands for bands, _ in parts[what]]) for what in ("scene", "noise", "residue")
        )
        self.marks = np.concatenate([marks for _, marks in parts["scene"]])

    def batch(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, 40] frames, [B, T / 2] what holds, [B] whether it is clear."""
        frames, snr_db = mixed(self.scenes, self.noises, self.residues, chosen, rng)
        marks = of_steps(self.marks[chosen], snr_db)
        return torch.from_numpy(frames), torch.from_numpy(marks), torch.from_numpy(snr_db > CLEAR_DB)


def _make(speech: str, folder: Path, what: str, at: int) -> None:
    bands, marks = made(speech, what, at, PART)
    path = folder / f"{what}-{at}.part.npz"
    np.savez(path, bands=bands, marks=marks)
    path.rename(path.with_name(f"{what}-{at}.npz"))


def seen(net: Net, bank: Bank, held: np.ndarray) -> str:
    """Of scenes that are only looked at: of the words the share that is sure, and of scenes without one the false."""
    net.eval()
    rng, found, false = np.random.default_rng(7), [0, 0], [0, 0]
    with torch.inference_mode():
        for at in range(0, len(held), BATCH):
            frames, marks, _ = bank.batch(held[at : at + BATCH], rng)
            sure = net(frames) > 0.6
            found[0] += int((sure & (marks == YES)).sum())
            found[1] += int((marks == YES).sum())
            false[0] += int((sure & (marks == NO)).any(1).sum())
            false[1] += len(marks)
    net.train()
    return f"of the marks {found[0] / found[1]:.4f}, false in {false[0]} of {false[1]} scenes"


def fit(bank: Bank, folder: Path, weights: Path, minutes: float) -> Net:
    """Train for so long, one scene in fifty left out, together with what a checkpoint says was trained before."""
    from safetensors.numpy import save_file

    torch.manual_seed(0)
    net, mean = Net(), Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARN, weight_decay=1e-3)
    every = np.arange(len(bank.scenes))
    held, trained = every[every % 50 == 0], every[every % 50 != 0]
    spent_s, step, saved = 0.0, 0, folder / "checkpoint.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        net.load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimizer.load_state_dict(state["optimizer"])
        spent_s, step = state["spent_s"], state["step"]
    else:
        mean.load_state_dict(net.state_dict())
    rng, total, began = np.random.default_rng(step + 1), 0.0, time.process_time()
    while spent_s < minutes * 60:
        done = spent_s / (minutes * 60)
        for group in optimizer.param_groups:
            group["lr"] = LEARN * min(1.0, (step + 1) / 300) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        frames, marks, clear = bank.batch(rng.choice(trained, BATCH), rng)
        loss = loss_of(net(frames), marks, clear)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        keep = min(KEEP, (step + 1) / (step + 10))
        for ours, theirs in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
            if ours.dtype.is_floating_point:
                ours.lerp_(theirs, 1 - keep)
        total, step = total + loss.item(), step + 1
        spent_s += time.process_time() - began
        began = time.process_time()
        if step % 250 == 0:
            said = {"step": step, "minutes": round(spent_s / 60, 1), "loss": round(total / 250, 4)}
            print(json.dumps(said), seen(mean, bank, held), flush=True)
            total = 0.0
            torch.save({"net": net.state_dict(), "mean": mean.state_dict(), "optimizer": optimizer.state_dict(),
                        "spent_s": spent_s, "step": step}, saved.with_suffix(".part"))  # fmt: skip
            saved.with_suffix(".part").rename(saved)
            keep_weights = {name: value.astype(np.float16) for name, value in mean.weights().items()}
            save_file(keep_weights, weights / FILE)
            began = time.process_time()
    return mean


def main(arguments: list[str]) -> int:
    speech, folder, weights = arguments[0], Path(arguments[1]), Path(arguments[2])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    fit(Bank(speech, folder), folder, weights, float(arguments[3]) if arguments[3:] else MINUTES)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
