"""The training loop. It knows no system by name: an objective turns a batch of views into a loss."""

import json
import math
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from codial import devices, objectives, runs
from codial.checkpoints import (
    LAST,
    load_exactly,
    newest,
    read_note,
    read_tensors,
    save_checkpoint,
    set_aside,
)
from codial.claims import claimed
from codial.config import Config
from codial.data import Pictures, load_images
from codial.devices import choose_device, uses_bf16
from codial.errors import CodialError
from codial.feed import Fed, Feed, step_seed
from codial.interrupts import interrupt_sets
from codial.models import synchronise
from codial.moments import moments, put_back
from codial.monitors import confusion, measure
from codial.ranks import Ranks, joined
from codial.runs import Run
from codial.schedule import learning_rate, stage_ends
from codial.stored import require_kinds
from codial.writing import write_safely

OnLog = Callable[[Mapping[str, Any]], None]

_GLANCE = 0.05  # seconds between two looks at whether a pause is over


def pretrain(
    config: Config,
    out: str | Path,
    *,
    images: Pictures | None = None,
    root: str | Path | None = None,
    stop: threading.Event | None = None,
    pause: threading.Event | None = None,
    on_log: OnLog | None = None,
    progress: bool = True,
) -> Run:
    """Train, resume, or return the finished run.

    Ctrl-C, or `stop`, ends it after the step under way and saves; calling again goes on from there, to the same numbers
    as if it had never stopped (on the same machine with the same number of threads). Under `torchrun` all processes
    train the one run, each on its share of every batch; the first writes the folder.

    Args:
        config: all settings.
        out: the run's folder.
        images: pictures to learn from; `config.data` is loaded when left out.
        root: where data sets lie; see `codial.load_images`.
        stop: set it from another thread to stop.
        pause: while another thread keeps it set, a run of one process waits between two steps; that time
            is not counted in seconds.
        on_log: called with every line of history.
        progress: show a progress bar.

    Returns:
        The run; `run.finished` is False when it was stopped.

    Raises:
        CodialError: the folder holds another run or is being trained elsewhere, the pictures can't be had, or the loss
            is no longer a number.
    """
    folder = Path(out)
    if (folder / "config.json").exists() and _done(runs.create_run(folder, config, _pictures(images), "")):
        return runs.open_run(folder)
    with joined() as ranks:
        if images is None:
            data = config.data
            images = load_images(data.source, data.split, root=root, size=data.size, limit=data.limit, seed=config.seed)
        device = choose_device(config.train.device)
        with claimed(folder) if ranks.first else nullcontext(), interrupt_sets(stop or threading.Event()) as stop:
            if ranks.first:
                runs.create_run(folder, config, _pictures(images), devices.describe(device, config.train.precision))
            ranks.wait()
            loop = _Loop(runs.open_run(folder), images, device, ranks, on_log)
            loop.go(stop, pause or threading.Event(), progress)
    return runs.open_run(folder)


def _done(run: Run) -> bool:
    """Say whether a run has done all its epochs and its last checkpoint is whole."""
    return run.finished and run.checkpoint().name == LAST


def _pictures(images: Pictures | None) -> dict[str, Any]:
    if images is None:
        return {}
    return {"name": images.name, "split": images.split, "count": len(images), "fingerprint": images.fingerprint}


class _Loop:
    """One run under way: modules, optimisers, position."""

    def __init__(self, run: Run, images: Pictures, device: torch.device, ranks: Ranks, on_log: OnLog | None) -> None:
        self.run, self.config, self.device, self.ranks = run, run.config, device, ranks
        train = self.config.train
        if len(images) < 2:
            raise CodialError(f"{images.name} has {len(images)} pictures; pretraining needs at least 2.")
        self.batch = min(train.batch, len(images)) // ranks.size * ranks.size
        if self.batch < 2 * ranks.size or (self.batch < train.batch and len(images) >= train.batch):
            raise CodialError(
                f"train.batch is {train.batch}, of {len(images)} pictures; {ranks.size} processes share it evenly, with"
                " at least 2 pictures each."
            )
        self.on_log = on_log
        self.epoch_steps = len(images) // self.batch
        self.total = self.epoch_steps * train.epochs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(self.config.seed, "weights", 0))
            classes = len(images.classes) if images.labelled else 0
            self.objective = objectives.build(self.config, classes, len(images))
        self.objective.to(device).to(memory_format=torch.channels_last)
        if train.sync_norm:
            synchronise(self.objective, ranks, device)
        self.ends = stage_ends(self.objective.stages(), train.epochs)
        self.stage_steps = {end * self.epoch_steps for end in self.ends}  # after which each stage ends
        self.optimisers = self.objective.optimisers(train)
        for group in self._groups():
            group["start"] = group["lr"]
        self.feed = Feed(images, self.config, device, ranks)
        self.bf16 = uses_bf16(train.precision, device)
        self.step, self.seconds, self.best = 0, 0.0, -math.inf
        self.window: dict[str, list[Tensor | float]] = {}  # each term's values since the last line of history
        self._resume()

    @property
    def epoch(self) -> int:
        return self.step // self.epoch_steps

    @property
    def stage(self) -> int:
        return bisect_right(self.ends, self.epoch)

    @property
    def views(self) -> int:
        return self.step * self.batch * len(self.config.views.primary)

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]

    def go(self, stop: threading.Event, pause: threading.Event, progress: bool) -> None:
        """Run to the end, or to the end of the step in which `stop` is set; save in either case."""
        self.stop, self.pause = stop, pause
        self.started = time.perf_counter() - self.seconds
        unit = self.batch * len(self.config.views.primary)
        bar = tqdm(total=self.total * unit, initial=self.views, unit=" views", unit_scale=True, delay=2,
                   disable=not progress or not self.ranks.first, desc=self.config.name)  # fmt: skip
        with bar:
            if self.step == 0:
                self._measure()  # random weights: what the run is to be compared with
            while self.step < self.total and not self._stopped():
                if self._train_epoch(bar):
                    self._end_epoch()
        self._require_finite()
        self._save("last")

    def _stopped(self) -> bool:
        """Wait until no pause is on, then say whether the run is to stop."""
        began = time.perf_counter()
        while self.pause.is_set() and not self.stop.is_set():
            time.sleep(_GLANCE)
        self.started += time.perf_counter() - began
        return self.ranks.any(self.stop.is_set())

    def _train_epoch(self, bar: tqdm) -> bool:
        """Train to the end of the epoch under way; return False when it was stopped before."""
        done = self.step % self.epoch_steps
        generator = torch.Generator().manual_seed(step_seed(self.config.seed, "epoch", self.epoch))
        if not done:
            self.objective.begin_epoch(self.feed.images, self.step / self.total, generator, self.stage)
        with closing(self.feed.batches(self._order(self.epoch)[done:], self.step)) as batches:
            for fed in batches:
                self._train_step(fed)
                bar.update(self.batch * len(self.config.views.primary))
                self.seconds = time.perf_counter() - self.started
                if self.step % self.config.train.log_every == 0 or self.step in self.stage_steps:
                    bar.set_postfix_str(f"loss {self._log():.3f}", refresh=False)
                if self.step % self.epoch_steps and self._stopped():
                    return False
        return True

    def _order(self, epoch: int) -> Tensor:
        """Return the pictures of each step of an epoch, [steps, batch] int64."""
        generator = torch.Generator().manual_seed(step_seed(self.config.seed, "order", epoch))
        order = self.objective.order(len(self.feed.images), generator)
        return order[: self.epoch_steps * self.batch].view(self.epoch_steps, self.batch)

    def _train_step(self, fed: Fed) -> None:
        """Take one step, all of whose draws follow from the seed and the step's number."""
        rate = learning_rate(self._stage_progress(), self.config.train) / self.config.train.lr
        for group in self._groups():
            group["lr"] = group["start"] * (1.0 if group.get("constant") else rate)
        noise = torch.Generator(self.device).manual_seed(step_seed(self.config.seed, "noise", self.step))
        draws = objectives.Draws(noise, len(fed.indices), self.ranks)
        self.objective.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            batch = objectives.Batch(fed.views, fed.labels, self.step / self.total, draws, fed.indices, self.stage)
            terms = self.objective.terms(batch)
        self._backward(terms)
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.step += 1
        for name, value in terms.items():
            self.window.setdefault(name, []).append(value.detach() if isinstance(value, Tensor) else value)

    def _stage_progress(self) -> float:
        """Return the part of the stage under way that is over."""
        first, end = (self.epoch_steps * (0, *self.ends)[self.stage + i] for i in range(2))
        return (self.step - first) / (end - first)

    def _backward(self, terms: objectives.Terms) -> None:
        """Give each parameter the gradient of the term that its optimiser minimises; none where this stage has none."""
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        for left, (name, optimiser) in reversed(list(enumerate(self.optimisers.items()))):
            if name not in terms:
                continue
            minimised = [p for group in optimiser.param_groups for p in group["params"]]
            torch.as_tensor(terms[name]).backward(inputs=minimised, retain_graph=left > 0)
            self.ranks.average_gradients(minimised)

    def _line(self, kind: str, values: Mapping[str, Any]) -> None:
        if not self.ranks.first:
            return
        epoch = round(self.step / self.epoch_steps, 3)
        line = {"kind": kind, "step": self.step, "epoch": epoch, "views": self.views, "seconds": round(self.seconds, 2)}
        runs.append_line(self.run.folder, line | dict(values))
        if self.on_log:
            self.on_log(line | dict(values))

    def _log(self) -> float:
        """Write the means since the last line, and return the loss."""
        means = torch.stack([_listed(values, self.device).mean() for values in self.window.values()])
        found = dict(zip(self.window, self.ranks.mean(means).tolist(), strict=True))
        if not math.isfinite(found["loss"]):
            raise self._diverged(", ".join(f"{k} {v:g}" for k, v in found.items()))
        self.window = {}
        self._line("train", found | {"lr": self._groups()[0]["lr"]})
        return found["loss"]

    def _diverged(self, found: str) -> CodialError:
        """Write down which batch broke the run, for `codial.feed.replay`, and return the error."""
        losses = self.window.get("loss", [])
        fine = _listed(losses, self.device).isfinite().tolist() if losses else []
        step = self.step - len(fine) + (fine.index(False) + 1 if False in fine else len(fine))
        epoch, place = divmod(step - 1, self.epoch_steps)
        pictures = self._order(epoch)[place].tolist()
        record = {"step": step, "seed": self.config.seed, "pictures": pictures, "found": found}
        path = self.run.folder / "diverged.json"
        if self.ranks.first:
            write_safely(path, json.dumps(record).encode())
        return CodialError(
            f"The loss is no longer a number at step {step} ({found}). The last checkpoint in {self.run.folder} is from"
            f" before; {path.name} says which batch it was. Try a smaller train.lr or objective.beta_end."
        )

    def _require_finite(self) -> None:
        """Refuse to measure or save broken weights, which a loss that is not a number leaves at once."""
        names, parameters = zip(*self.objective.named_parameters(), strict=True)
        whole = torch.stack([p.isfinite().all() for p in parameters]).tolist()
        broken = [name for name, fine in zip(names, whole, strict=True) if not fine]
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
        if not self.config.train.monitor_every or not self.ranks.first:
            return
        images, pictures = self.feed.images, self.config.train.monitor_pictures
        measured = measure(self.objective.trunk, images, pictures, self.bf16)
        told = confusion(self.objective, images, self.config, min(self.stage, len(self.ends) - 1), self.bf16)
        self._line("monitor", measured | ({"confusion": told} if told else {}))
        if measured.get("knn", -math.inf) > self.best:
            self.best = measured["knn"]
            self._save("best")

    def _save(self, name: str) -> None:
        if not self.ranks.first:
            return
        tensors = {f"model.{k}": v for k, v in self.objective.state_dict().items()}
        tensors |= {f"window.{k}": _listed(v, self.device) for k, v in self.window.items()}
        for minimised, optimiser in self.optimisers.items():
            tensors |= {f"optimiser.{minimised}.{k}": v for k, v in moments(optimiser).items()}
        note: dict[str, float] = {"step": self.step, "steps": self.total, "views": self.views}
        note |= {"epoch": self.epoch if self.total else 0}
        note |= {"seconds": round(self.seconds, 2), "finished": self.step >= self.total}
        if math.isfinite(self.best):
            note["best"] = self.best
        save_checkpoint(self.run.folder / "checkpoints" / f"{name}.safetensors", tensors, note)

    def _resume(self) -> None:
        folder = self.run.folder / "checkpoints"
        path = newest(folder)
        if path is not None:
            note, tensors = read_note(path), read_tensors(path)
            numbers = dict.fromkeys(("step", "seconds", "best"), (int, float))
            require_kinds({"best": -math.inf} | note, numbers, path)
            self.step, self.seconds, self.best = note["step"], note["seconds"], note.get("best", -math.inf)
            load_exactly(self.objective, _below(tensors, "model."), path)
            self.window = {k: list(v.to(self.device)) for k, v in _below(tensors, "window.").items()}
            for name, optimiser in self.optimisers.items():
                put_back(optimiser, _below(tensors, f"optimiser.{name}."), path)
        if self.ranks.first:
            set_aside(folder, path)
            runs.cut_history(self.run.folder, self.step or -1)  # at step 0 the monitors are written anew
        self.ranks.wait()


def _listed(values: list[Tensor | float], device: torch.device) -> Tensor:
    """Return a term's values as one tensor, [n] float64."""
    return torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in values])


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
