"""Batches of one session and one length, for every network: stretches of trials, no padding, no masks."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from calm.config import FitConfig
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.interfaces import DecodingBatch, WindowBatch


def group_trials(
    lengths: Int[np.ndarray, " trial"], trials: Int[np.ndarray, " part"], size: int
) -> list[Int[np.ndarray, " batch"]]:
    """Cut trials, in the order given, into groups of at most `size` with equal length."""
    groups = []
    for length in np.unique(lengths[trials]):
        alike = trials[lengths[trials] == length]
        groups += [alike[start : start + size] for start in range(0, len(alike), size)]
    return groups


class Epoch(Sequence[Any]):
    """The batches of an epoch, each loaded when its turn comes: memory does not grow with the corpus.

    Args:
        plan: what each batch holds.
        load: makes a batch of it.
    """

    def __init__(self, plan: Sequence[Any], load: Callable[[Any], Any]):
        self.plan, self.load = plan, load

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int | slice) -> Any:
        """One batch, or some of the epoch's without loading them."""
        return Epoch(self.plan[index], self.load) if isinstance(index, slice) else self.load(self.plan[index])


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """What of a session is trained on.

    Attributes:
        neurons: its size.
        lengths: of all its trials.
        trials: which of them to take.
        longest: of a stretch; None sets no limit.
    """

    neurons: int
    lengths: Int[np.ndarray, " trial"]
    trials: Int[np.ndarray, " part"]
    longest: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Planned:
    """What one batch holds: stretches of equal length of some trials, and some neurons, of a session."""

    session: int
    trials: Int[np.ndarray, " batch"]
    starts: Int[np.ndarray, " batch"]
    length: int
    neurons: Int[np.ndarray, " neuron"]

    @property
    def stretches(self) -> list[tuple[int, slice]]:
        """Each trial, and which of its frames or tokens."""
        pairs = zip(self.trials.tolist(), self.starts.tolist(), strict=True)
        return [(trial, slice(start, start + self.length)) for trial, start in pairs]


def plan_epoch(parts: Sequence[Part], config: FitConfig, rng: np.random.Generator) -> list[Planned]:
    """A random order of batches that visits every trial of every session once.

    Trials of like length share a batch and are cut to the shortest of them, each to a stretch from a random start.
    """
    plan = []
    for session, part in enumerate(parts):
        size = max(1, config.rows // min(part.neurons, config.neurons))
        lengths = part.lengths if part.longest is None else np.minimum(part.lengths, part.longest)
        shuffled = rng.permutation(part.trials)
        ordered = shuffled[np.argsort(lengths[shuffled], kind="stable")]
        for first in range(0, len(ordered), size):
            trials = ordered[first : first + size]
            length = int(lengths[trials].min())
            starts = rng.integers(part.lengths[trials] - length + 1)
            plan.append(Planned(session, trials, starts, length, choose_neurons(part.neurons, config.neurons, rng)))
    return [plan[index] for index in rng.permutation(len(plan))]


def choose_neurons(count: int, most: int, rng: np.random.Generator) -> Int[np.ndarray, " neuron"]:
    """All neurons, or `most` of them at random."""
    return np.arange(count) if count <= most else rng.choice(count, most, replace=False)


def trace_batches(sessions: Sequence[Session], config: FitConfig, window: int, *, seed: int) -> Epoch:
    """Training traces of one epoch, "row frame", whole windows long; rows are (trial, neuron) pairs."""
    parts = [Part(len(each.neurons), each.frames // window * window, each.trials_of("train")) for each in sessions]

    def load(planned: Planned) -> Float[Tensor, "row frame"]:
        traces = sessions[planned.session].traces
        rows = [traces[trial][planned.neurons, frames] for trial, frames in planned.stretches]
        return torch.from_numpy(np.concatenate(rows))

    return Epoch(plan_epoch(parts, config, np.random.default_rng(seed)), load)


def training_part(session: Session, window: int | None) -> Part:
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
    return Part(len(session.neurons), frames, trials[frames[trials] >= (window or 1)], longest=window)


def plan_windows(sessions: Sequence[Session], window: int | None, config: FitConfig, *, seed: int) -> list[Planned]:
    """The batches of one epoch: of every training trial a window that starts anywhere in it, or the whole of it."""
    parts = [training_part(session, window) for session in sessions]
    everyone = config.changed(neurons=max(part.neurons for part in parts))  # none is left out
    return plan_epoch(parts, everyone, np.random.default_rng(seed))


def window_batches(sessions: Sequence[Session], window: int | None, config: FitConfig, *, seed: int) -> Epoch:
    """Training batches of one epoch, each a WindowBatch."""

    def load(planned: Planned) -> WindowBatch:
        session = sessions[planned.session]
        traces = [session.traces[trial][:, frames] for trial, frames in planned.stretches]
        return WindowBatch(session.name, torch.from_numpy(np.stack(traces)))

    return Epoch(plan_windows(sessions, window, config, seed=seed), load)


def decoding_batches(sessions: Sequence[Session], window: int | None, config: FitConfig, *, seed: int) -> Epoch:
    """Training batches of one epoch, each a DecodingBatch: a window of every training trial, or the whole of it."""

    def load(planned: Planned) -> DecodingBatch:
        session = sessions[planned.session]
        traces = np.stack([session.traces[trial][:, frames] for trial, frames in planned.stretches])
        behaviour = np.stack([session.behaviour[trial][frames] for trial, frames in planned.stretches])
        return DecodingBatch(session.name, torch.from_numpy(traces), torch.from_numpy(behaviour))

    return Epoch(plan_windows(sessions, window, config, seed=seed), load)
