"""The training loop. It knows no system by name: an objective turns a batch of views into a loss."""

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from codial import monitors, objectives, runs
from codial.config import Config, TrainConfig
from codial.data import ImageSet, load_images
from codial.errors import CodialError
from codial.models import AlexNet
from codial.runs import Run
from codial.views import plain_view, sample_views

OnLog = Callable[[Mapping[str, Any]], None]


def pretrain(
    config: Config,
    out: str | Path,
    *,
    images: ImageSet | None = None,
    root: str | Path | None = None,
    stop: threading.Event | None = None,
    on_log: OnLog | None = None,
    progress: bool = True,
) -> Run:
    """Train, resume, or return the finished run.

    Ctrl-C, or `stop`, ends it after the step under way and saves; calling again goes on from there, to the same numbers
    as if it had never stopped (on the same machine with the same number of threads).

    Args:
        config: all settings.
        out: the run's folder.
        images: pictures to learn from; `config.data` is loaded when left out.
        root: where data sets lie; see `codial.load_images`.
        stop: set it from another thread to stop.
        on_log: called with every line of history.
        progress: show a progress bar.

    Returns:
        The run; `run.finished` is False when it was stopped.

    Raises:
        CodialError: the folder holds another run or is being trained elsewhere, the pictures can't be had, or the loss
            is no longer a number.
    """
    folder = Path(out)
    if (folder / "config.json").exists() and runs.create_run(folder, config, _pictures(images), "").finished:
        return runs.open_run(folder)
    if images is None:
        data = config.data
        images = load_images(data.source, data.split, root=root, size=data.size, limit=data.limit, seed=config.seed)
    device = choose_device(config.train.device)
    with runs.claimed(folder), _interrupt_sets(stop or threading.Event()) as stop:
        run = runs.create_run(folder, config, _pictures(images), _describe(device))
        _Loop(run, images, device, on_log).go(stop, progress)
    return run


def _pictures(images: ImageSet | None) -> dict[str, Any]:
    if images is None:
        return {}
    return {"name": images.name, "split": images.split, "count": len(images), "fingerprint": images.fingerprint}


def choose_device(wanted: str) -> torch.device:
    """Return the device called `wanted`; "auto" is a GPU when there is one.

    Raises:
        CodialError: torch does not see such a device here.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        raise CodialError(f"train.device is {wanted!r}, which this machine does not offer ({error}).") from error


def _describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({torch.get_num_threads()} threads)"


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Return whether forward passes run in bfloat16: on "auto", where the device has units for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(supported())


def learning_rate(progress: float, train: TrainConfig) -> float:
    """Return the cosine schedule's rate after a part `progress` of the run, from `lr` down to `lr * lr_end`."""
    return train.lr * (train.lr_end + (1 - train.lr_end) * (1 + math.cos(math.pi * progress)) / 2)


def step_seed(seed: int, stream: str, step: int) -> int:
    """Return the seed of one step's draws; a stream names what is drawn, so that none depends on another."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()[:7])


class _Loop:
    """One run under way: modules, optimiser, position."""

    def __init__(self, run: Run, images: ImageSet, device: torch.device, on_log: OnLog | None) -> None:
        self.run, self.config, self.device, self.on_log = run, run.config, device, on_log
        train = self.config.train
        if len(images) < 2:
            raise CodialError(f"{images.name} has {len(images)} pictures; pretraining needs at least 2.")
        self.images, self.labels = images.images.to(device), images.labels.to(device)
        self.batch = min(train.batch, len(images))
        self.epoch_steps = len(images) // self.batch
        self.total = self.epoch_steps * train.epochs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(self.config.seed, "weights", 0))
            self.objective = objectives.build(self.config, len(images.classes) if images.labelled else 0)
        self.objective.to(device).to(memory_format=torch.channels_last)
        self.optimiser = _adamw(self.objective, train)
        self.bf16 = uses_bf16(train.precision, device)
        self.step, self.seconds, self.best = 0, 0.0, -math.inf
        self.window: dict[str, Tensor] = {}  # sums of terms since the last line of history
        self._resume()

    @property
    def epoch(self) -> int:
        return self.step // self.epoch_steps

    def go(self, stop: threading.Event, progress: bool) -> None:
        """Run to the end, or to the end of the step in which `stop` is set; save in either case."""
        started = time.perf_counter() - self.seconds
        views = self.batch * len(self.config.views.primary)
        bar = tqdm(total=self.total * views, initial=self.step * views, unit=" views", unit_scale=True, delay=2,
                   disable=not progress, desc=self.config.name)  # fmt: skip
        with bar:
            if self.step == 0:
                self._measure()  # random weights: what the run is to be compared with
            while self.step < self.total and not stop.is_set():
                self._train_step()
                bar.update(views)
                self.seconds = time.perf_counter() - started
                if self.step % self.config.train.log_every == 0 or self.step == self.total:
                    bar.set_postfix_str(f"loss {self._log():.3f}", refresh=False)
                if self.step % self.epoch_steps == 0:
                    self._end_epoch()
        self._require_finite()
        self._save("last")

    def _train_step(self) -> None:
        """Take one step, all of whose draws follow from the seed and the step's number."""
        progress = self.step / self.total
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(progress, self.config.train)
        chosen = self._order(self.epoch)[self.step % self.epoch_steps].to(self.device)
        draws = torch.Generator().manual_seed(step_seed(self.config.seed, "views", self.step))
        noise = torch.Generator(self.device).manual_seed(step_seed(self.config.seed, "noise", self.step))
        views = sample_views(self.images[chosen], self.config.views, draws)
        batch = objectives.Batch(views, self.labels[chosen], progress, noise)
        self.objective.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            terms = self.objective.terms(batch)
        self.optimiser.zero_grad(set_to_none=True)
        torch.as_tensor(terms["loss"]).backward()
        self.optimiser.step()
        self.step += 1
        for name, value in terms.items():
            value = torch.as_tensor(value, dtype=torch.float64, device=self.device).detach()
            self.window[name] = self.window.get(name, torch.zeros_like(value)) + value

    def _order(self, epoch: int) -> Tensor:
        """Return this epoch's batches, [steps, batch] picture indices."""
        if getattr(self, "_ordered", None) != epoch:
            generator = torch.Generator().manual_seed(step_seed(self.config.seed, "order", epoch))
            order = torch.randperm(len(self.images), generator=generator)[: self.epoch_steps * self.batch]
            self._ordered, self._batches = epoch, order.view(self.epoch_steps, self.batch)
        return self._batches

    def _line(self, kind: str, values: Mapping[str, float]) -> None:
        views = self.step * self.batch * len(self.config.views.primary)
        epoch = round(self.step / self.epoch_steps, 3)
        line = {"kind": kind, "step": self.step, "epoch": epoch, "views": views, "seconds": round(self.seconds, 2)}
        runs.append_line(self.run.folder, line | dict(values))
        if self.on_log:
            self.on_log(line | dict(values))

    def _log(self) -> float:
        """Write the means since the last line, and return the loss."""
        steps = (self.step - 1) % self.config.train.log_every + 1
        means = {name: float(total) / steps for name, total in self.window.items()}
        self.window = {}
        if not math.isfinite(means["loss"]):
            raise self._diverged(", ".join(f"{k} {v:g}" for k, v in means.items()))
        self._line("train", means | {"lr": self.optimiser.param_groups[0]["lr"]})
        return means["loss"]

    def _diverged(self, found: str) -> CodialError:
        return CodialError(
            f"The loss is no longer a number at step {self.step} ({found}). The last checkpoint in"
            f" {self.run.folder} is from before. Try a smaller train.lr or objective.beta_end."
        )

    def _require_finite(self) -> None:
        """Refuse to measure or save broken weights, which a loss that is not a number leaves at once."""
        broken = [name for name, p in self.objective.named_parameters() if not bool(p.isfinite().all())]
        if broken:
            raise self._diverged(f"nor are {len(broken)} of the weights, such as {broken[0]}")

    def _end_epoch(self) -> None:
        self._require_finite()
        train, last = self.config.train, self.step == self.total
        if train.monitor_every and (self.epoch % train.monitor_every == 0 or last):
            self._measure()
        if self.epoch % train.checkpoint_every == 0 and not last:
            self._save("last")

    def _measure(self) -> None:
        """Write a line of monitors, and keep the weights if they are the best so far."""
        if not self.config.train.monitor_every:
            return
        measured = measure(
            self.objective.trunk, self.images, self.labels, self.config.train.monitor_pictures, self.bf16
        )
        self._line("monitor", measured)
        if measured.get("knn", -math.inf) > self.best:
            self.best = measured["knn"]
            self._save("best")

    def _save(self, name: str) -> None:
        tensors = {f"model.{k}": v for k, v in self.objective.state_dict().items()}
        tensors |= {f"window.{k}": v for k, v in self.window.items()}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{k}": v for k, v in state.items()}
        views = self.step * self.batch * len(self.config.views.primary)
        note: dict[str, float] = {
            "step": self.step,
            "steps": self.total,
            "epoch": self.epoch if self.total else 0,
            "views": views,
        }
        note |= {"seconds": round(self.seconds, 2), "finished": self.step >= self.total}
        if math.isfinite(self.best):
            note["best"] = self.best
        runs.save_checkpoint(self.run.folder / "checkpoints" / f"{name}.safetensors", tensors, note)

    def _resume(self) -> None:
        path = self.run.folder / "checkpoints" / "last.safetensors"
        if not path.exists():
            runs.cut_history(self.run.folder, -1)
            return
        note, tensors = runs.read_note(path), runs.read_tensors(path)
        self.step, self.seconds, self.best = note["step"], note["seconds"], note.get("best", -math.inf)
        runs.load_exactly(self.objective, _below(tensors, "model."), path)
        self.window = {k: v.to(self.device) for k, v in _below(tensors, "window.").items()}
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, "optimiser.").items():
            index, name = key.split(".", 1)
            own = parameters[int(index)]
            # The fused optimiser walks memory: moments must lie as their parameters do, channels last.
            laid_out = torch.empty_like(own).copy_(value) if value.shape == own.shape else value
            state.setdefault(int(index), {})[name] = laid_out
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})
        runs.cut_history(self.run.folder, self.step or -1)  # at step 0 the monitors are written anew


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _adamw(module: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and kernels, but neither batch norm nor biases."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    free = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, fused=True)


@torch.no_grad()
def measure(trunk: AlexNet, images: Tensor, labels: Tensor, count: int, bf16: bool = False) -> dict[str, float]:
    """Return the monitors of a trunk: feature_std and rankme of fc7 and, with labels, knn (fc7) and probe (conv5).

    A fixed choice of pictures is split into four fifths that are known and one that is asked for. All are training
    pictures, so that no test picture is ever looked at; the numbers are for watching a run, not for comparing systems.

    Args:
        trunk: left in evaluation mode.
        images: [N, 3, H, W] uint8.
        labels: [N] int64, -1 where unknown; those pictures take no part in knn and probe.
        count: pictures to use.
        bf16: compute features in bfloat16.
    """
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].to(images.device)
    trunk.eval()
    parts = []
    for indices in chosen.split(256):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            taps = trunk.taps(plain_view(images[indices], trunk.size), ("conv5", "fc7"))
        parts.append((taps["conv5"].flatten(1).float(), taps["fc7"].float()))
    conv5, fc7 = (torch.cat(part) for part in zip(*parts, strict=True))
    found = {"feature_std": monitors.feature_std(fc7), "rankme": monitors.rankme(fc7)}
    known = labels[chosen] >= 0
    if known.sum() >= 20:
        conv5, fc7, labels = conv5[known], fc7[known], labels[chosen][known]
        asked = torch.arange(len(labels), device=labels.device) % 5 == 0
        found |= {"knn": monitors.knn_accuracy(fc7, labels, asked)}
        found |= {"probe": monitors.ridge_accuracy(conv5, labels, asked)}
    return found


@contextmanager
def _interrupt_sets(stop: threading.Event) -> Iterator[threading.Event]:
    """Let the first Ctrl-C set `stop`, so that the step under way ends and is saved; the second breaks off."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupted(signum: int, frame: FrameType | None) -> None:
        if stop.is_set() or before is None:
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
