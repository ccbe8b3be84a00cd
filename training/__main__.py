"""Train the backbone in the box: `python -m training PHOTOS --work DIR`. Run it again and it goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fastmagic.learning import tiny

from . import photos
from .augment import augment


@dataclass
class Settings:
    """What decides a training; written into the log and into the shipped file.

    Attributes:
        epochs: passes over the training photographs.
        minutes: squeeze the whole schedule into this time; 0 for no limit. What a run has seen by then is what it saw.
        bs: batch size.
        lr: peak learning rate of AdamW; rises over the first `warmup` of the schedule, falls as a cosine to nothing.
        wd: weight decay of convolutions and of the classifier; none for biases and normalisation.
        smoothing: label smoothing (Szegedy et al. 2015).
        ema: decay a step of the average of the weights that is validated and shipped.
        smallest: least share of a photograph's area in a crop.
        sizes: px of the crops, from the first to the last part of the schedule, in equal parts.
        side: px of the photographs in memory.
        seed: of the weights, the order and the augmentation.
    """

    epochs: float = 24
    minutes: float = 0
    bs: int = 128
    lr: float = 2e-3
    wd: float = 0.05
    smoothing: float = 0.1
    warmup: float = 0.04
    ema: float = 0.998
    smallest: float = 0.35
    sizes: tuple[int, ...] = (48, 64, 64, 80)
    side: int = 64
    seed: int = 0


class Run:
    """A training with everything that it needs to stop at any batch and go on later."""

    def __init__(
        self,
        settings: Settings,
        data: photos.Photos,
        valid: photos.Photos,
        work: Path,
        start: Path | None = None,
    ):
        self.settings, self.work = settings, work
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(settings.seed)
        self.pictures, self.classes, self.vocab = data.pictures, torch.from_numpy(data.classes), data.vocab
        self.valid = valid
        model = tiny.tiny(pretrained=False, num_classes=len(data.vocab))
        if start is not None:
            # A classifier of other classes stays random.
            fitting = {k: v for k, v in load_file(start).items() if v.shape == model.state_dict()[k].shape}
            model.load_state_dict(fitting, strict=False)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        rest = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": settings.wd}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.lr, foreach=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")
        self.mean, self.std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in tiny.STATS)
        self.random = torch.Generator().manual_seed(settings.seed)
        self.seen = 0  # photographs so far
        self.spent = 0.0  # seconds so far, over all stretches
        self.resume()

    @property
    def total(self) -> int:
        return int(self.settings.epochs * len(self.pictures))

    @property
    def progress(self) -> float:
        """Share of the schedule that is done: by photographs or by time, whichever is further."""
        by_time = self.spent / (60 * self.settings.minutes) if self.settings.minutes else 0.0
        return min(1.0, max(self.seen / self.total, by_time))

    def rate(self) -> float:
        s, done = self.settings, self.progress
        if done < s.warmup:
            return s.lr * max(done / s.warmup, 0.01)
        return s.lr * 0.5 * (1 + math.cos(math.pi * (done - s.warmup) / (1 - s.warmup)))

    def size(self) -> int:
        sizes = self.settings.sizes
        return sizes[min(len(sizes) - 1, int(self.progress * len(sizes)))]

    def prepared(self, batch: Tensor) -> Tensor:
        return ((batch - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def photographs(self, source: photos.Photos | None, chosen: Tensor) -> Tensor:
        pictures = self.pictures if source is None else source.pictures
        return torch.from_numpy(pictures[chosen.numpy()]).to(self.device).permute(0, 3, 1, 2)

    def step(self, chosen: Tensor) -> float:
        """Train on one batch and return its loss."""
        s = self.settings
        x = self.prepared(augment(self.photographs(None, chosen), self.size(), s.smallest, self.random))
        y = self.classes[chosen].to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.device.type == "cuda"):
            loss = F.cross_entropy(self.model(x).float(), y, label_smoothing=s.smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update_parameters(self.model)
        return loss.item()

    def train(self, save_every: float) -> None:
        """Train to the end of the schedule, with a checkpoint every `save_every` seconds and a line of log an epoch."""
        n, s = len(self.pictures), self.settings
        self.model.train()
        while self.progress < 1:
            epoch, start = divmod(self.seen, n)
            order = torch.randperm(n, generator=torch.Generator().manual_seed(s.seed + epoch))
            losses, saved, clock = [], time.monotonic(), time.monotonic()
            for chosen in order[start:].split(s.bs):
                losses.append(self.step(chosen))
                self.seen += len(chosen)
                now = time.monotonic()
                self.spent += now - clock
                clock = now
                if now - saved > save_every:
                    self.save()
                    self.write(epoch=epoch, loss=sum(losses[-500:]) / len(losses[-500:]))
                    saved = clock = time.monotonic()
                if self.progress >= 1:
                    break
            self.write(epoch=epoch, loss=sum(losses[-500:]) / len(losses[-500:]), accuracy=self.accuracy(s.side))
            self.save()

    @torch.inference_mode()
    def accuracy(self, size: int) -> float:
        """Return the averaged model's share of right answers on the validation photographs at `size` px."""
        right = 0
        model = self.average.module.eval()
        for chosen in torch.arange(len(self.valid.pictures)).split(250):
            x = self.photographs(self.valid, chosen).float() / 255
            if size != x.shape[-1]:
                x = F.interpolate(x, size=(size, size), mode="bicubic", antialias=True).clamp_(0, 1)
            answers = model(self.prepared(x)).argmax(1).cpu()
            right += int((answers == torch.from_numpy(self.valid.classes)[chosen]).sum())
        return right / len(self.valid.pictures)

    def write(self, **what: float) -> None:
        line = {
            "progress": self.progress,
            "minutes": self.spent / 60,
            "seen": self.seen,
            "size": self.size(),
            "lr": self.rate(),
            **what,
        }
        text = json.dumps({k: round(v, 5) for k, v in line.items()})
        print(text, flush=True)
        with open(self.work / "log.jsonl", "a") as log:
            log.write(text + "\n")

    def save(self) -> None:
        """Write the checkpoint; whatever happens meanwhile, the one before it stays whole until this one is."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": self.random.get_state(),
            "seen": self.seen,
            "spent": self.spent,
        }
        part = self.work / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.work / "checkpoint.pt")

    def resume(self) -> None:
        file = self.work / "checkpoint.pt"
        if not file.exists():
            return
        state = torch.load(file, map_location=self.device, weights_only=True)
        for name in ("model", "average", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.random.set_state(state["random"].cpu())
        self.seen, self.spent = state["seen"], state["spent"]

    def ship(self, to: Path) -> None:
        """Write the averaged weights in half precision, with what a reader needs to know in the file's own header."""
        weights = {k: v.half() if v.is_floating_point() else v for k, v in self.average.module.state_dict().items()}
        weights = {k: v.contiguous().cpu() for k, v in weights.items() if not k.endswith("num_batches_tracked")}
        about = {
            "architecture": tiny.ARCHITECTURE,
            "vocab": self.vocab,
            "photographs seen": self.seen,
            "minutes": round(self.spent / 60),
            "accuracy": round(self.accuracy(self.settings.side), 4),
            "settings": asdict(self.settings),
        }
        save_file(weights, to, {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()})
        print(f"{to}: {to.stat().st_size / 1e6:.2f} MB, {about['accuracy']:.2%} right on the validation photographs")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("photos", type=Path, help="folder with train/<class>/… and val/… (Tiny ImageNet as it comes)")
    parser.add_argument("--work", type=Path, default=Path("work"), help="checkpoint, log and decoded photographs")
    parser.add_argument("--to", type=Path, help="file to write at the end (default: WORK/tiny.safetensors)")
    parser.add_argument("--start", type=Path, help="weights to begin with, of a file written before (default: random)")
    parser.add_argument("--save-every", type=float, default=180, help="seconds between checkpoints")
    parser.add_argument("--ship", action="store_true", help="write the file from the checkpoint as it is, and stop")
    for name, value in asdict(Settings()).items():
        many = isinstance(value, tuple)
        kind = int if many else type(value) if not isinstance(value, int) else float if name == "epochs" else int
        parser.add_argument(f"--{name}", type=kind, default=value, nargs="+" if many else None)
    given = vars(parser.parse_args())
    folder, work, to = given.pop("photos"), given.pop("work"), given.pop("to")
    start, save_every, ship = given.pop("start"), given.pop("save_every"), given.pop("ship")
    settings = Settings(**{**given, "sizes": tuple(given["sizes"])})
    work.mkdir(parents=True, exist_ok=True)
    try:
        parts = [photos.load(folder, part, settings.side, work) for part in ("train", "val")]
    except OSError as error:
        print(f"{error}\n→ Give the folder that holds train and val.", file=sys.stderr)
        return 2
    if start is not None and not start.is_file():
        print(f"There is no file {start} to start from.", file=sys.stderr)
        return 2
    run = Run(settings, *parts, work, start)
    if not ship:
        run.train(save_every)
    run.ship(to or work / "tiny.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
