"""The one fit loop of every torch model: warm-up and cosine, averaged weights, early stopping, resume; on Fabric."""

import contextlib
import dataclasses
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from calm.config.fitting import FitConfig
from calm.devices import best_device, enough_memory, prepared_ahead, sum_over_ranks
from calm.errors import CalmError
from calm.models.interfaces import Trainable
from calm.paths import ensure_writable
from calm.seeding import seeded, step_seed
from calm.storage import is_stored, load_checkpoint, save_checkpoint
from calm.training.averaging import WeightAverage
from calm.training.parallel import Partition, start_fabric

CountedBatch = tuple[Any, int]  # with how many predictions the loss is the mean of
BAR_SECONDS = 5.0  # between updates of the progress bar, each of which is a line in the log of a headless run


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a model is trained on: all sessions, or a group of them.

    Attributes:
        batch: the batch of a step, from 0 on, the same whenever it is asked for (see `calm.training.batches.Batches`).
        validate: score of a model on validation trials, higher is better.
        number: of the group.
        sessions: of the group, by their place in the model.
        share: of the group in the sessions that the model is trained on.
    """

    batch: Callable[[int], Any]
    validate: Callable[[nn.Module], float]
    number: int = 0
    sessions: Sequence[int] = ()
    share: float = 1.0


@dataclasses.dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    best: float = -math.inf
    since_best: int = 0
    history: list[dict[str, int | float]] = dataclasses.field(default_factory=list)


def schedule(done: float, warmup: float) -> float:
    """Learning rate as a share of its peak: linear warm-up, then cosine to zero; arguments are shares of the run."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def make_optimizer(model: Trainable, config: FitConfig) -> torch.optim.AdamW:
    """AdamW on what is not frozen; only matrices decay."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault(config.weight_decay if parameter.ndim > 1 else 0.0, []).append(parameter)
    described = [{"params": group, "weight_decay": decay} for decay, group in groups.items()]
    return torch.optim.AdamW(described, lr=config.learning_rate, fused=True)


class Run:
    """A training run: model, averaged model, optimizer and progress, and the folder that they survive in.

    Checkpoints are made with each validation, after which the random state is set anew from the seed: a resumed run
    computes what a straight one would have, bit for bit at equal thread count.
    """

    def __init__(self, model: Trainable, objectives: Sequence[Objective], config: FitConfig, seed: int, folder: Path):
        self.objectives, self.config, self.seed, self.folder = objectives, config, seed, folder
        self.fabric = start_fabric(config)
        sessions = [session for each in objectives for session in each.sessions]
        self.partition = Partition(model, model.session_parameters, sessions)
        self.model, self.optimizer = self.fabric.setup(model, make_optimizer(model, config))
        self.model.mark_forward_method("training_loss")
        self.averaged = WeightAverage(self.model.module, config.weight_ema)
        self.progress = Progress()
        self.origin = {
            "model": {"name": type(model).__name__, "config": model.config.model_dump(mode="json")},
            "fit": config.model_dump(mode="json"),
            "seed": seed,
        }

    def train(self) -> None:
        """Train to the end or until validation stops improving, and leave the best weights in `model`."""
        config, progress = self.config, self.progress
        bar = tqdm(
            total=config.steps, initial=progress.step, desc=self.folder.name, unit="step", mininterval=BAR_SECONDS
        )
        with bar:
            if self.model.module.begins_trained and not progress.history:
                self.advance(0, bar)
            while progress.step < config.steps and not self.stopped():
                self.advance(min(config.validate_every, config.steps - progress.step), bar)
            bar.total = progress.step  # a bar that stopped at 88 % would look like one that is stuck
        self.finish()

    def advance(self, steps: int, bar: tqdm) -> None:
        """Some steps, then a validation; from then on they are not lost."""
        began = time.perf_counter()
        row = {**self.train_steps(steps, bar), "val": self.validate()}
        self.progress.history.append({"step": self.progress.step, **row, "seconds": time.perf_counter() - began})
        bar.set_postfix({name: f"{row[name]:.3f}" for name in ("loss", "val") if name in row}, refresh=False)
        self.save("last", pack(self))

    def stopped(self) -> bool:
        """Whether validation has not improved for too long."""
        return 0 < self.config.patience <= self.progress.since_best

    def train_steps(self, steps: int, bar: tqdm) -> dict[str, float]:
        """Some steps on from where the run stands; returns the mean of every loss term."""
        torch.manual_seed(step_seed(self.seed, self.progress.step))
        self.model.train()
        totals: dict[str, Tensor] = {}
        for batches in self.batches(range(self.progress.step, self.progress.step + steps)):
            if self.config.session_groups > 1:  # nothing random may depend on which groups are trained here
                torch.manual_seed(step_seed(self.seed, self.progress.step))
            self.model.module.before_step(self.progress.step, self.config.steps)
            self.set_learning_rate()
            for name, value in self.step(batches).items():
                totals[name] = totals.get(name, 0) + value
            self.progress.step += 1
            bar.update()
        sum_over_ranks(*totals.values())
        return {name: float(total) / steps for name, total in totals.items()}

    def batches(self, steps: Iterable[int]) -> Iterator[list[CountedBatch]]:
        """The batches of some steps; on a GPU the next ones are made and copied while it computes."""
        return (prepared_ahead if self.fabric.device.type == "cuda" else map)(self.load, steps)

    def load(self, step: int) -> list[CountedBatch]:
        """A batch of each group, on the device, with the number of its predictions."""
        batches = [each.batch(step) for each in self.objectives]
        # Counted before they are on a GPU, which would have to be waited for.
        return [(self.fabric.to_device(each), self.model.module.count_predictions(each)) for each in batches]

    def set_learning_rate(self) -> None:
        """Follow the schedule."""
        done = (self.progress.step + 0.5) / self.config.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * schedule(done, self.config.warmup)

    def step(self, batches: Sequence[CountedBatch]) -> dict[str, Tensor]:
        """One update of the weights and of their average, by a batch of each group; returns the mean loss terms."""
        counts = [count for _, count in batches]
        terms: dict[str, Tensor] = {}
        self.optimizer.zero_grad()
        for objective, (batch, _), weight in zip(
            self.objectives, batches, self.partition.batch_weights(counts, self.fabric.device), strict=True
        ):
            if self.config.session_groups > 1:
                torch.manual_seed(step_seed(self.seed, self.progress.step, objective.number + 1))
            losses = self.model.training_loss(batch)
            self.fabric.backward(losses["loss"] * weight)
            for name, value in losses.items():
                terms[name] = terms.get(name, 0) + value.detach() * weight
        self.partition.sum_gradients()
        norm = self.partition.clip_gradients(self.optimizer, self.config.clip)
        if not torch.isfinite(norm):
            raise CalmError(self.explosion([batch for batch, _ in batches]))
        self.optimizer.step()
        self.model.module.after_step()
        self.averaged.update(self.model.module)
        return {**terms, "gradient_norm": norm / self.partition.processes}

    def explosion(self, batches: Sequence[Any]) -> str:
        """What to say of a loss that has no finite gradient."""
        names = ", ".join(batch.session for batch in batches if hasattr(batch, "session"))
        of_sessions = f" on a batch of session {names}" if names else ""
        return (
            f"{self.folder.name}: in step {self.progress.step + 1} of {self.config.steps}{of_sessions}, the loss or its"
            " gradient is infinite or NaN: look for extreme values there, or lower the fit's `learning_rate` or `clip`."
        )

    @torch.no_grad()
    def validate(self) -> float:
        """Score the averaged weights and keep them if they are the best so far.

        A trained model that has not made a step yet counts as it is or without what it was introduced to, which may be
        chance: whichever is better.

        Raises:
            CalmError: the score is not a number.
        """
        model = self.averaged.module.eval()
        self.progress.since_best += 1
        score = self.keep_if_best(model)
        if self.progress.step == 0:
            with model.unintroduced() as different:
                score = max(score, self.keep_if_best(model)) if different else score
        return score

    def keep_if_best(self, model: Trainable) -> float:
        """The validation score of a model, which is kept if none was better."""
        score = sum(each.validate(model) * each.share for each in self.objectives)
        score = self.partition.total(score, self.fabric.device)
        if not math.isfinite(score):
            raise CalmError(f"{self.folder.name}: the validation score is {score}: try a lower `learning_rate`.")
        if score > self.progress.best:
            self.progress.best, self.progress.since_best = score, 0
            self.save("best", model.state_dict())
        return score

    def save(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Write a checkpoint that also tells where the run stands."""
        tensors = self.partition.gather(tensors)
        if self.fabric.is_global_zero:
            copies = {key: tensor.detach().clone() for key, tensor in tensors.items()}
            save_checkpoint(self.folder / name, copies, {**self.origin, **dataclasses.asdict(self.progress)})

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        if is_stored(self.folder / "last"):
            tensors, manifest = load_checkpoint(self.folder / "last")
            unpack(self, tensors)
            self.progress = Progress(**{field.name: manifest[field.name] for field in dataclasses.fields(Progress)})

    def finish(self) -> None:
        """Publish the best weights with the whole history, and drop what was only needed to resume."""
        self.fabric.barrier()
        self.save("model", load_checkpoint(self.folder / "best")[0])
        if self.fabric.is_global_zero:
            for leftover in (*self.folder.glob("best"), *self.folder.glob("last"), *self.folder.glob(".*")):
                shutil.rmtree(leftover, ignore_errors=True)
        self.fabric.barrier()


def pack(run: Run) -> dict[str, Tensor]:
    """Weights, averaged weights and optimizer state as one flat dictionary; every name ends with the weight's."""
    tensors = {f"model.{name}": tensor for name, tensor in run.model.module.state_dict().items()}
    tensors |= {f"averaged.{name}": tensor for name, tensor in run.averaged.state_dict().items()}
    for name, parameter in run.model.module.named_parameters():
        for field, tensor in run.optimizer.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{field}.{name}"] = tensor
    return tensors


def unpack(run: Run, tensors: dict[str, Tensor]) -> None:
    """Put back what `pack` took; the optimizer's state of other processes' sessions is left out."""
    states: dict[str, dict[str, Tensor]] = {"model": {}, "averaged": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        owner, rest = name.split(".", 1)
        states[owner][rest] = tensor
    run.model.module.load_state_dict(states["model"])
    run.averaged.load_state_dict(states["averaged"])
    names = {parameter: name for name, parameter in run.model.module.named_parameters()}
    ordered = [names[parameter] for group in run.optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in states["optimizer"].items():
        field, name = key.split(".", 1)
        if run.partition.trains(name):
            state.setdefault(ordered.index(name), {})[field] = tensor
    run.optimizer.load_state_dict({**run.optimizer.state_dict(), "state": state})


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, and wait until the one that is there has ended: notebooks share trainings.

    Raises:
        CalmError: the folder cannot be written.
    """
    ensure_writable(folder.parent)
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        tqdm.write(f"Another run is training in {folder}: waiting until it ends.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def fit(
    model: Trainable, objective: Objective | Sequence[Objective], config: FitConfig, *, seed: int, folder: Path
) -> pd.DataFrame:
    """Train a model in place and leave it, on the best device, with the weights that scored best in validation.

    Args:
        model: what is trained.
        objective: its batches and its validation score; of sessions in groups, one for each group of this process.
        config: the loop's numbers.
        seed: of everything random.
        folder: where the run lives: an interrupted run found there goes on, a finished one is loaded, and one that
            another process is at is waited for.

    Returns:
        The history, a row a validation: its `step`, the mean since the last one of every loss term and of the
        `gradient_norm` before it is clipped, the score `val`, and its `seconds`.

    Raises:
        CalmError: the folder cannot be written; a gradient is not finite, or there is too little memory.
    """
    if not is_stored(folder / "model"):
        with seeded(seed):
            objectives = [objective] if isinstance(objective, Objective) else objective
            run = Run(model, objectives, config, seed, folder)
            with (
                alone_in(folder) if run.fabric.is_global_zero else contextlib.nullcontext(),
                enough_memory(f"{folder.name}, trained with batches of {config.rows} `rows`"),
            ):
                run.fabric.barrier()
                if not is_stored(folder / "model"):  # or another run left it while this one waited
                    run.resume()
                    run.train()
    tensors, manifest = load_checkpoint(folder / "model")
    model.load_state_dict(tensors)
    model.to(best_device()).eval()
    return pd.DataFrame(manifest["history"])
