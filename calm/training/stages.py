"""Train or search a model for a task; what was trained once is kept under its key and found by any notebook."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pandas as pd
from torch import nn
from tqdm import tqdm

from calm.config.base import Config
from calm.config.fitting import FitConfig
from calm.data.session import Session
from calm.devices import best_device, enough_memory, process_counts
from calm.errors import CalmError
from calm.seeding import seeded
from calm.storage import stage_key
from calm.training.fit import Objective, Run, fit
from calm.training.parallel import group_sessions, groups_here

Model = TypeVar("Model", bound=nn.Module)
REHEARSED = (3, 7)  # steps to tell the time from: the first are slow, and a codebook has not started; the others count
SAMPLED = 3  # sessions, for the same


class Task(Generic[Model]):
    """What is learned, from which data: a small frozen dataclass for each kind of model (see `calm.training.tasks`).

    Attributes:
        VERSION: raised by hand with any change to what the training computes.
        name: begins the key.
        config: the model's numbers.
        inputs: all else that the result depends on but the fit, the seed and a pretrained model, as text.
    """

    VERSION: ClassVar[int]
    name: str
    config: Config
    inputs: list[str]

    def new_model(self) -> Model:
        """An untrained model that knows the task's sessions."""
        raise NotImplementedError

    def batches(self, model: Model, fit_config: FitConfig, *, seed: int, runs: Path) -> Callable[[int], Any]:
        """The batch of any step; what has to be computed once for all is kept in `runs`."""
        raise NotImplementedError

    def validation_score(self, model: Model, fit_config: FitConfig) -> float:
        """Score of a model on the validation trials, mean over sessions; higher is better."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class KindTask(Task[Model]):
    """A task that any model of an interface can learn; it has the name of its `kind`."""

    kind: type[Model]
    config: Config

    @property
    def name(self) -> str:
        """That of the class."""
        return self.kind.__name__.lower()


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(Generic[Model]):
    """A trained model, its history (a row a validation) and the key it is kept under."""

    model: Model
    history: pd.DataFrame
    key: str

    @property
    def score(self) -> float:
        """Best validation score: that of the weights that were kept."""
        return float(self.history["val"].max())

    @property
    def seconds(self) -> float:
        """Wall time of the training, validation included."""
        return float(self.history["seconds"].sum())

    @property
    def parameters(self) -> int:
        """Number of weights that were trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)


@dataclasses.dataclass(frozen=True, eq=False)
class Search(Generic[Model]):
    """The small search that every trained method gets: trainings that differ in their learning rate.

    Attributes:
        tries: by learning rate.
    """

    tries: dict[float, Trained[Model]]

    @property
    def learning_rate(self) -> float:
        """The one with the best validation score."""
        return max(self.tries, key=lambda rate: self.tries[rate].score)

    @property
    def chosen(self) -> Trained[Model]:
        """The training with the best validation score."""
        return self.tries[self.learning_rate]

    @property
    def seconds(self) -> float:
        """Wall time of all tries together."""
        return sum(tried.seconds for tried in self.tries.values())


def train(
    task: Task[Model], fit_config: FitConfig, *, seed: int, runs: Path, pretrained: Trained[Model] | None = None
) -> Trained[Model]:
    """Train a model, or find it again: the weights are those that scored best on the validation trials.

    Args:
        task: what is learned, on the training trials of which sessions.
        fit_config: the loop's numbers.
        seed: of the weights and the batches.
        runs: folder of all trainings; an interrupted one goes on.
        pretrained: model of other sessions: all is frozen but what belongs to sessions and their neurons (Sec. 3.2).

    Raises:
        CalmError: data that the task cannot learn from, or a pretrained model that does not fit the task.
    """
    model = initial_model(task, seed=seed, pretrained=pretrained)
    if pretrained:
        fit_config = fit_config.adapting()
    key = key_of(task, fit_config, seed=seed, pretrained=pretrained)
    objectives = group_objectives(task, model, fit_config, seed=seed, runs=runs)
    return Trained(model, fit(model, objectives, fit_config, seed=seed, folder=runs / key), key)


def key_of(task: Task[Model], fit_config: FitConfig, *, seed: int, pretrained: Trained[Model] | None = None) -> str:
    """Under which a training is kept."""
    inputs = [f"adapted from {pretrained.key}" if pretrained else "", *task.inputs]
    return stage_key(task.name, [task.config, fit_config], inputs, seed, task.VERSION)


def expected_seconds(task: Task[Model], fit_config: FitConfig, *, seed: int) -> float:
    """How long a training takes on this machine, from a short one that is thrown away: of up to SAMPLED sessions.

    Raises:
        CalmError: as `train`.
    """
    short = fit_config.changed(steps=sum(REHEARSED))
    what = f"{task.name}, trained with batches of {fit_config.rows} `rows`"
    with tempfile.TemporaryDirectory() as folder, seeded(seed), enough_memory(what), tqdm(disable=True) as bar:
        few = dataclasses.replace(task, sessions=typical(task.sessions))
        model, runs = initial_model(few, seed=seed), Path(folder)
        run = Run(model, group_objectives(few, model, short, seed=seed, runs=runs), short, seed, runs / task.name)
        times = [time.perf_counter()]
        for steps in REHEARSED:
            run.train_steps(steps, bar)
            times.append(time.perf_counter())
        run.validate()
        validation = (time.perf_counter() - times[-1]) * len(task.sessions) / len(few.sessions)
    step = (times[-1] - times[-2]) / REHEARSED[-1]
    return step * fit_config.steps + validation * math.ceil(fit_config.steps / fit_config.validate_every)


def typical(sessions: Sequence[Session]) -> list[Session]:
    """SAMPLED of some sessions, or fewer, from all numbers of neurons."""
    every = math.ceil(len(sessions) / SAMPLED)
    return sorted(sessions, key=lambda session: len(session.neurons))[every // 2 :: every]


def group_objectives(
    task: Task[Model], model: Model, fit_config: FitConfig, *, seed: int, runs: Path
) -> list[Objective]:
    """The objective of each group of sessions that this process trains."""

    def objective(part: Task[Model], **group: Any) -> Objective:
        batch = part.batches(model, fit_config, seed=seed, runs=runs)
        return Objective(batch, lambda candidate: part.validation_score(candidate, fit_config), **group)

    if fit_config.session_groups == 1 and process_counts() == (1, 1):
        return [objective(task)]
    groups = group_sessions([len(session.neurons) for session in task.sessions], fit_config.session_groups)
    return [
        objective(
            dataclasses.replace(task, sessions=[task.sessions[session] for session in groups[number]]),
            number=number,
            sessions=groups[number],
            share=len(groups[number]) / len(task.sessions),
        )
        for number in groups_here(len(groups))
    ]


def search(
    task: Task[Model],
    fit_config: FitConfig,
    factors: Sequence[float],
    *,
    seed: int,
    runs: Path,
    pretrained: Trained[Model] | None = None,
) -> Search[Model]:
    """`train` with each multiple of the configured learning rate."""
    configs = [fit_config.changed(learning_rate=fit_config.learning_rate * each) for each in factors]
    return Search(
        {each.learning_rate: train(task, each, seed=seed, runs=runs, pretrained=pretrained) for each in configs}
    )


def untrained(task: Task[Model], *, seed: int, pretrained: Trained[Model] | None = None) -> Trained[Model]:
    """What a training begins with, ready to be used as what it ends with; nothing is kept."""
    model = initial_model(task, seed=seed, pretrained=pretrained).to(best_device()).eval()
    return Trained(model, pd.DataFrame(), f"untrained {task.name}")


def initial_model(task: Task[Model], *, seed: int, pretrained: Trained[Model] | None = None) -> Model:
    """The model that a training begins with: as drawn, but for the frozen weights of a pretrained one.

    Raises:
        CalmError: nothing of the model belongs to sessions, or its weights have other shapes than the pretrained ones.
    """
    with seeded(seed):
        model = task.new_model()
    if pretrained is None:
        return model
    if not model.session_parameters:
        raise CalmError(f"{type(model).__name__} has no part of its own for a session: train it on the new sessions.")
    state, kept = model.state_dict(), pretrained.model.state_dict()
    shared = {name: value for name, value in kept.items() if not name.startswith(model.session_parameters)}
    if any(state[name].shape != value.shape for name, value in shared.items()):
        raise CalmError(
            f"{pretrained.key} was trained on other features or behaviours than those of the new sessions: adapt a"
            " model that was trained on the same."
        )
    model.load_state_dict(shared, strict=False)
    model.freeze()
    return model
