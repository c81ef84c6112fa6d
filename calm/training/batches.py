"""Batches of one session and one length, for every network: stretches of trials, no padding, no masks."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from calm.config.fitting import FitConfig
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.interfaces import DecodingBatch, TraceBatch, WindowBatch


def group_trials(
    lengths: Int[np.ndarray, " trial"], trials: Int[np.ndarray, " chosen"], size: int
) -> list[Int[np.ndarray, " batch"]]:
    """Cut trials, in the order given, into groups of at most `size` with equal length."""
    groups = []
    for length in np.unique(lengths[trials]):
        alike = trials[lengths[trials] == length]
        groups += [alike[start : start + size] for start in range(0, len(alike), size)]
    return groups


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingTrials:
    """What of a session is trained on.

    Attributes:
        neurons: how many it has.
        lengths: of all its trials, in frames or tokens.
        trials: which of them to take.
        longest: of a stretch; None sets no limit.
    """

    neurons: int
    lengths: Int[np.ndarray, " trial"]
    trials: Int[np.ndarray, " chosen"]
    longest: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Stretches:
    """What one batch holds: stretches of equal length of some trials, and some neurons, of a session."""

    session: int
    trials: Int[np.ndarray, " batch"]
    starts: Int[np.ndarray, " batch"]
    length: int
    neurons: Int[np.ndarray, " neuron"]

    def __iter__(self) -> Iterator[tuple[int, slice]]:
        """Each trial, and which of its frames or tokens."""
        for trial, start in zip(self.trials.tolist(), self.starts.tolist(), strict=True):
            yield trial, slice(start, start + self.length)


class Batches:
    """The batch of any step of a training, the same whenever it is asked for.

    Sessions take turns in a random order, so that each is visited as often as any other, however many trials it has.
    All its trials are visited before one comes again.

    Args:
        sessions: what of each is trained on.
        config: how large a batch is.
        load: makes a batch of its stretches, when its step comes: memory does not grow with the corpus.
        seed: of the order, of what is cut from trials, and of the neurons.
    """

    def __init__(
        self, sessions: Sequence[TrainingTrials], config: FitConfig, load: Callable[[Stretches], Any], *, seed: int
    ):
        self.sessions, self.config, self.load, self.seed = sessions, config, load, seed
        self.passes: dict[int, tuple[int, list[Stretches]]] = {}  # the latest over each session

    def __call__(self, step: int) -> Any:
        """The batch of a step, from 0 on."""
        return self.load(self.stretches(step))

    def stretches(self, step: int) -> Stretches:
        """What the batch of a step holds."""
        turn, place = divmod(step, len(self.sessions))
        session = int(np.random.default_rng([self.seed, turn]).permutation(len(self.sessions))[place])
        number, batch = divmod(turn, self.count(session))
        if self.passes.get(session, (None,))[0] != number:
            rng = np.random.default_rng([self.seed, number, session])
            self.passes[session] = number, plan_pass(session, self.sessions[session], self.config, rng)
        return self.passes[session][1][batch]

    def count(self, session: int) -> int:
        """Batches of one pass over a session."""
        return -(-len(self.sessions[session].trials) // trials_at_once(self.sessions[session].neurons, self.config))


def trials_at_once(neurons: int, config: FitConfig) -> int:
    """Trials of a batch."""
    return max(1, config.rows // min(neurons, config.neurons))


def plan_pass(number: int, session: TrainingTrials, config: FitConfig, rng: np.random.Generator) -> list[Stretches]:
    """Batches that visit every trial of a session once, in a random order; `number` is the session's.

    Trials of like length share a batch and are cut to the shortest of them, each to a stretch from a random start.
    """
    plan, size = [], trials_at_once(session.neurons, config)
    lengths = session.lengths if session.longest is None else np.minimum(session.lengths, session.longest)
    shuffled = rng.permutation(session.trials)
    ordered = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    for first in range(0, len(ordered), size):
        trials = ordered[first : first + size]
        length = int(lengths[trials].min())
        starts = rng.integers(session.lengths[trials] - length + 1)
        plan.append(Stretches(number, trials, starts, length, choose_neurons(session.neurons, config.neurons, rng)))
    return [plan[index] for index in rng.permutation(len(plan))]


def choose_neurons(count: int, most: int, rng: np.random.Generator) -> Int[np.ndarray, " neuron"]:
    """All neurons, or `most` of them at random."""
    return np.arange(count) if count <= most else rng.choice(count, most, replace=False)


def trace_batches(sessions: Sequence[Session], config: FitConfig, window: int, *, seed: int) -> Batches:
    """Training traces, "row frame", whole windows long; rows are (trial, neuron) pairs."""

    def load(stretches: Stretches) -> Float[Tensor, "row frame"]:
        traces = sessions[stretches.session].traces
        return torch.from_numpy(np.concatenate([traces[trial][stretches.neurons, part] for trial, part in stretches]))

    trials = [
        TrainingTrials(len(each.neurons), each.frames // window * window, each.trials_of("train")) for each in sessions
    ]
    return Batches(trials, config, load, seed=seed)


def training_trials(session: Session, window: int | None) -> TrainingTrials:
    """The training trials of a session that hold a window.

    Raises:
        CalmError: none is that long.
    """
    trials, frames = session.trials_of("train"), session.frames
    if not (frames[trials] >= (window or 1)).any():
        raise CalmError(
            f"Session {session.name}: no training trial has the {window} frames that are trained on at once: shorten"
            " `context` or `horizon` of a forecast, or a decoder's `window`."
        )
    return TrainingTrials(len(session.neurons), frames, trials[frames[trials] >= (window or 1)], longest=window)


def all_neurons(trials: Sequence[TrainingTrials], config: FitConfig) -> FitConfig:
    """The numbers of batches that leave out no neuron."""
    return config.changed(neurons=max(each.neurons for each in trials))


def window_batches(sessions: Sequence[Session], window: int | None, config: FitConfig, *, seed: int) -> Batches:
    """Training batches, each a WindowBatch: of each trial a window that starts anywhere in it, or the whole of it."""

    def load(stretches: Stretches) -> WindowBatch:
        session = sessions[stretches.session]
        return WindowBatch(session.name, torch.from_numpy(np.stack(cut(session.traces, stretches, axis=1))))

    trials = [training_trials(session, window) for session in sessions]
    return Batches(trials, all_neurons(trials, config), load, seed=seed)


def trial_batches(sessions: Sequence[Session], config: FitConfig, *, seed: int) -> Batches:
    """Training batches, each a TraceBatch of trials, cut to the shortest of them."""

    def load(stretches: Stretches) -> TraceBatch:
        traces = sessions[stretches.session].traces
        chosen = np.stack([traces[trial][stretches.neurons, part] for trial, part in stretches])
        return TraceBatch(sessions[stretches.session].name, *map(torch.from_numpy, (stretches.neurons, chosen)))

    return Batches([training_trials(session, None) for session in sessions], config, load, seed=seed)


def decoding_batches(sessions: Sequence[Session], window: int | None, config: FitConfig, *, seed: int) -> Batches:
    """Training batches, each a DecodingBatch: of each trial a window that starts anywhere in it, or the whole of it."""

    def load(stretches: Stretches) -> DecodingBatch:
        session = sessions[stretches.session]
        traces, behaviour = cut(session.traces, stretches, axis=1), cut(session.behaviour, stretches, axis=0)
        return DecodingBatch(session.name, *(torch.from_numpy(np.stack(each)) for each in (traces, behaviour)))

    trials = [training_trials(session, window) for session in sessions]
    return Batches(trials, all_neurons(trials, config), load, seed=seed)


def cut(trials: Sequence[np.ndarray], stretches: Stretches, *, axis: Literal[0, 1]) -> list[np.ndarray]:
    """The stretches of trials whose frames lie along an axis."""
    return [trials[trial][part] if axis == 0 else trials[trial][:, part] for trial, part in stretches]
