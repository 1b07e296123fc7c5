"""The training loop of any method: a method turns batches of views into losses."""

import json
import math
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from codial import methods
from codial.config import Config
from codial.data import Dataset
from codial.errors import CodialError
from codial.models import synchronize_batchnorm
from codial.runs.checkpoints import latest_checkpoint, set_aside
from codial.runs.history import append_history, truncate_history
from codial.runs.run import Run
from codial.training.interruptible import Stopped, interruptible
from codial.training.monitors import feature_monitors, pretext_confusion
from codial.training.prefetch import PrefetchedBatch, Prefetcher, step_seed
from codial.training.schedule import learning_rate, stage_ends
from codial.training.state import TrainingState, load_state, save_state, stack_values
from codial.utils.atomic_io import write_atomic
from codial.utils.batch_generator import BatchGenerator
from codial.utils.devices import uses_bf16
from codial.utils.distributed import ProcessGroup
from codial.utils.progress import progress_bar

OnLog = Callable[[Mapping[str, Any]], None]

_POLL_SECONDS = 0.05  # between two checks whether a pause is over


class Trainer:
    """Training of one run: the method, its optimizers and the current state.

    Args:
        run: the run; its latest checkpoint is loaded.
        images: training images.
        device: device of the method.
        processes: processes that share every batch.
        on_log: function that is called with every line of the history.

    Raises:
        CodialError: there are too few images, or the batch cannot be shared evenly.
    """

    def __init__(
        self, run: Run, images: Dataset, device: torch.device, processes: ProcessGroup, on_log: OnLog | None
    ) -> None:
        self.run, self.config, self.device, self.processes = run, run.config, device, processes
        self.on_log = on_log
        self.batch = _batch_size(images, self.config.train.batch, processes.size)
        self.epoch_steps = len(images) // self.batch
        self.total_steps = self.epoch_steps * self.config.train.epochs
        self.method = _build_method(self.config, images).to(device).to(memory_format=torch.channels_last)
        synchronize_batchnorm(self.method, processes, device)
        self.stage_ends = stage_ends(self.method.stages(), self.config.train.epochs)  # in epochs
        self.optimizers = self.method.optimizers(self.config.train)
        for group in self._parameter_groups():
            group["start"] = group["lr"]
        self.prefetcher = Prefetcher(images, self.config, device, processes)
        self.bf16 = uses_bf16(self.config.train.precision, device)
        self.monitored = -1  # step of the last monitors in the history
        self.state = self._resume()

    @property
    def epoch(self) -> int:
        """Number of complete epochs."""
        return self.state.step // self.epoch_steps

    @property
    def stage(self) -> int:
        """Index of the current stage; the number of stages after the last."""
        return bisect_right(self.stage_ends, self.epoch)

    @property
    def views(self) -> int:
        """Number of views that the backbone was trained on."""
        return self.state.step * self.batch * len(self.config.views.primary)

    @property
    def finished(self) -> bool:
        """Whether all steps were taken and the last monitors written; asked of the main process."""
        return self.state.step >= self.total_steps and not self._lacks_monitors()

    def _parameter_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    def train(self, stop: threading.Event, pause: threading.Event, progress: bool) -> None:
        """Train to the end, or to the end of the step in which `stop` is set; save in either case."""
        self.stop, self.pause = stop, pause
        self.started = time.perf_counter() - self.state.seconds
        with self._progress_bar(progress) as bar:
            if self._lacks_monitors():  # of random weights, or those during which the run was stopped
                self._monitor()
            while self.state.step < self.total_steps and not self._stopped():
                if self._train_epoch(bar):
                    self._end_epoch()
        self._require_finite_weights()
        self._save("last")

    def _progress_bar(self, progress: bool) -> tqdm:
        step_views = self.batch * len(self.config.views.primary)
        return progress_bar(desc=self.config.name, total=self.total_steps * step_views, initial=self.views, leave=True,
                            unit=" views", unit_scale=True, show=progress and self.processes.is_main)  # fmt: skip

    def _stopped(self) -> bool:
        """Wait for the end of a pause, then return whether the run is to be stopped."""
        began = time.perf_counter()
        while self.pause.is_set() and not self.stop.is_set():
            time.sleep(_POLL_SECONDS)
        self.started += time.perf_counter() - began
        return self.processes.any(self.stop.is_set())

    def _train_epoch(self, bar: tqdm) -> bool:
        """Train to the end of the current epoch; return False if the run was stopped before."""
        done = self.state.step % self.epoch_steps
        generator = torch.Generator().manual_seed(step_seed(self.config.seed, "epoch", self.epoch))
        if not done:
            progress = self.state.step / self.total_steps
            images = self.prefetcher.images
            if self.processes.size == 1:  # several must do the same passes
                images = interruptible(images, self.stop)
            try:
                self.method.begin_epoch(images, progress, generator, self.stage)
            except Stopped:
                return False
        with closing(self.prefetcher.batches(self._order(self.epoch)[done:], self.state.step)) as batches:
            for batch in batches:
                self._train_step(batch)
                bar.update(self.batch * len(self.config.views.primary))
                self.state.seconds = time.perf_counter() - self.started
                if self._is_logged():
                    bar.set_postfix_str(f"loss {self._log():.3f}", refresh=False)
                if self.state.step % self.epoch_steps and self._stopped():
                    return False
        return True

    def _order(self, epoch: int) -> Tensor:
        """Return the image indices of each step of an epoch, [steps, batch] int64."""
        generator = torch.Generator().manual_seed(step_seed(self.config.seed, "order", epoch))
        order = self.method.order(len(self.prefetcher.images), generator)
        return order[: self.epoch_steps * self.batch].view(self.epoch_steps, self.batch)

    def _train_step(self, loaded: PrefetchedBatch) -> None:
        """Take one step, whose random numbers depend on the seed and the number of the step only."""
        rate = learning_rate(self._stage_progress(), self.config.train) / self.config.train.lr
        for group in self._parameter_groups():
            group["lr"] = group["start"] * (1.0 if group.get("constant") else rate)
        terms = self._forward(loaded)
        self._backward(terms)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.state.step += 1
        self.state.add(terms)

    def _forward(self, loaded: PrefetchedBatch) -> methods.Terms:
        """Return the terms of a batch at the current step, in the run's precision."""
        noise = torch.Generator(self.device).manual_seed(step_seed(self.config.seed, "noise", self.state.step))
        rng = BatchGenerator(noise, len(loaded.indices), self.processes)
        progress = self.state.step / self.total_steps
        self.method.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.method.terms(
                methods.Batch(loaded.views, loaded.labels, progress, rng, loaded.indices, self.stage)
            )

    def _stage_progress(self) -> float:
        """Return the fraction of the current stage that is done."""
        first, end = (self.epoch_steps * (0, *self.stage_ends)[self.stage + i] for i in range(2))
        return (self.state.step - first) / (end - first)

    def _backward(self, terms: methods.Terms) -> None:
        """Compute the gradient of each optimizer's term; its parameters get none if the term is absent."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        for left, (term, optimizer) in reversed(list(enumerate(self.optimizers.items()))):
            if term not in terms:
                continue
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.as_tensor(terms[term]).backward(inputs=parameters, retain_graph=left > 0)
            self.processes.average_gradients(parameters)

    def _is_logged(self) -> bool:
        """Return whether a line of the history follows the current step: every n steps and at the end of a stage."""
        ends = {end * self.epoch_steps for end in self.stage_ends}
        return self.state.step % self.config.train.log_every == 0 or self.state.step in ends

    def _log(self) -> float:
        """Write the means of all terms since the last line to the history, and return the loss."""
        means = torch.stack([stack_values(values, self.device).mean() for values in self.state.window.values()])
        terms = dict(zip(self.state.window, self.processes.mean(means).tolist(), strict=True))
        if not math.isfinite(terms["loss"]):
            raise self._diverged(", ".join(f"{name} {value:g}" for name, value in terms.items()))
        self.state.window = {}
        self._append_history("train", terms | {"lr": self._parameter_groups()[0]["lr"]})
        return terms["loss"]

    def _append_history(self, kind: str, values: Mapping[str, Any]) -> None:
        if not self.processes.is_main:
            return
        line: dict[str, Any] = {"kind": kind, "step": self.state.step, "epoch": self._exact_epoch()}
        line |= {"views": self.views, "seconds": round(self.state.seconds, 2)} | dict(values)
        append_history(self.run.folder, line)
        if self.on_log:
            self.on_log(line)

    def _exact_epoch(self) -> float:
        return round(self.state.step / self.epoch_steps, 3)

    def _end_epoch(self) -> None:
        self._require_finite_weights()
        if self._lacks_monitors():
            self._monitor()
        if self.epoch % self.config.train.checkpoint_every == 0 and self.state.step < self.total_steps:
            self._save("last")

    def _lacks_monitors(self) -> bool:
        """Return whether monitors of the current step are to be written by this process, and are not yet."""
        every, is_last = self.config.train.monitor_every, self.state.step == self.total_steps
        if not every or not self.processes.is_main or (self.state.step % self.epoch_steps and not is_last):
            return False
        return (self.epoch % every == 0 or is_last) and self.monitored != self.state.step

    def _monitor(self) -> None:
        """Write a line of monitors to the history, and save the weights if kNN accuracy is the best so far."""
        images, count = interruptible(self.prefetcher.images, self.stop), self.config.train.monitor_images
        stage = min(self.stage, len(self.stage_ends) - 1)
        try:
            values: dict[str, Any] = feature_monitors(self.method.backbone, images, count, self.bf16)
            matrix = pretext_confusion(self.method, images, self.config, stage, self.bf16)
        except Stopped:
            return  # the run is saved without them
        self._append_history("monitor", values | ({"confusion": matrix} if matrix else {}))
        self.monitored = self.state.step
        if values.get("knn", -math.inf) > self.state.best:
            self.state.best = values["knn"]
            self._save("best")

    def _require_finite_weights(self) -> None:
        """Raise an error before NaN or infinite weights are evaluated or saved."""
        names, parameters = zip(*self.method.named_parameters(), strict=True)
        finite = torch.stack([p.isfinite().all() for p in parameters]).tolist()
        broken = [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]
        if broken:
            raise self._diverged(f"{len(broken)} parameters are not finite, such as {broken[0]}")

    def _diverged(self, reason: str) -> CodialError:
        """Write diverged.json, from which `codial.training.prefetch.replay` restores the batch; return the error."""
        step = self._first_diverged_step()
        epoch, row = divmod(step - 1, self.epoch_steps)
        images = self._order(epoch)[row].tolist()
        record = {"step": step, "seed": self.config.seed, "images": images, "reason": reason}
        path = self.run.folder / "diverged.json"
        if self.processes.is_main:
            write_atomic(path, json.dumps(record).encode())
        return CodialError(
            f"NaN or infinite loss at step {step} ({reason}). The last checkpoint in {self.run.folder} is from an"
            f" earlier step; {path.name} describes the batch. Try a smaller train.lr or method.beta_end."
        )

    def _first_diverged_step(self) -> int:
        """Return the first step since the last line of the history whose loss is not finite, or else the last step."""
        losses = self.state.window.get("loss", [])
        finite = stack_values(losses, self.device).isfinite().tolist() if losses else []
        first = self.state.step - len(finite) + 1
        return first + finite.index(False) if False in finite else self.state.step

    def _save(self, name: str) -> None:
        if not self.processes.is_main:
            return
        position: dict[str, float] = {
            "steps": self.total_steps,
            "views": self.views,
            "epoch": self.epoch if self.total_steps else 0,
            "finished": self.finished,
        }
        path = self.run.folder / "checkpoints" / f"{name}.safetensors"
        save_state(path, self.state, self.method, self.optimizers, position)

    def _resume(self) -> TrainingState:
        """Load the latest checkpoint, if there is one, and drop later lines of the history."""
        folder = self.run.folder / "checkpoints"
        path = latest_checkpoint(folder)
        state = TrainingState() if path is None else load_state(path, self.method, self.optimizers)
        if self.processes.is_main:
            set_aside(folder, path)
            truncate_history(self.run.folder, state.step or -1)  # at step 0 the monitors are computed again
            self.monitored = max((line["step"] for line in self.run.history if line["kind"] == "monitor"), default=-1)
        self.processes.barrier()
        return state


def _batch_size(images: Dataset, batch: int, processes: int) -> int:
    """Return the number of images per step, a multiple of the number of processes.

    Raises:
        CodialError: there are too few images, or the batch cannot be shared evenly.
    """
    if len(images) < 2:
        raise CodialError(f"{images.name} has {len(images)} images; pretraining needs at least 2.")
    shared = min(batch, len(images)) // processes * processes
    if shared < 2 * processes or (shared < batch and len(images) >= batch):
        raise CodialError(
            f"train.batch is {batch}, of {len(images)} images; expected a multiple of the {processes} processes with at"
            " least 2 images for each."
        )
    return shared


def _build_method(config: Config, images: Dataset) -> methods.Method:
    """Return the method with the initial weights of the config's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(config.seed, "weights", 0))
        return methods.build(config, len(images), len(images.classes) if images.labeled else 0)
