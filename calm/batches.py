"""Batches of one session and one trial length, for both stages: no padding, no masks."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from calm.config import FitConfig
from calm.session import Session


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
    """What of a session is trained on: its size in neurons, the lengths of all its trials, and which to take."""

    neurons: int
    lengths: Int[np.ndarray, " trial"]
    trials: Int[np.ndarray, " part"]


@dataclasses.dataclass(frozen=True, eq=False)
class Planned:
    """What one batch holds: some trials, all of one length, and some neurons of a session."""

    session: int
    trials: Int[np.ndarray, " batch"]
    neurons: Int[np.ndarray, " neuron"]


def plan_epoch(parts: Sequence[Part], config: FitConfig, rng: np.random.Generator) -> list[Planned]:
    """A random order of batches that visits every trial of every session once."""
    plan = []
    for session, part in enumerate(parts):
        size = max(1, config.rows // min(part.neurons, config.neurons))
        for group in group_trials(part.lengths, rng.permutation(part.trials), size):
            plan.append(Planned(session, group, choose_neurons(part.neurons, config.neurons, rng)))
    return [plan[index] for index in rng.permutation(len(plan))]


def choose_neurons(count: int, most: int, rng: np.random.Generator) -> Int[np.ndarray, " neuron"]:
    """All neurons, or `most` of them at random."""
    return np.arange(count) if count <= most else rng.choice(count, most, replace=False)


def trace_batches(sessions: Sequence[Session], config: FitConfig, window: int, *, seed: int) -> Epoch:
    """Training traces of one epoch, "row frame", cut to whole windows; rows are (trial, neuron) pairs."""
    parts = [Part(len(each.neurons), each.frames // window * window, each.trials_of("train")) for each in sessions]

    def load(planned: Planned) -> Float[Tensor, "row frame"]:
        traces, frames = sessions[planned.session].traces, parts[planned.session].lengths[planned.trials[0]]
        rows = [traces[trial][planned.neurons, :frames] for trial in planned.trials]
        return torch.from_numpy(np.concatenate(rows))

    return Epoch(plan_epoch(parts, config, np.random.default_rng(seed)), load)
