"""Batches of one session and one trial length, for both stages: no padding, no masks."""

import dataclasses
from collections.abc import Sequence

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


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """What of a session is trained on: its size in neurons, the lengths of all its trials, and which to take."""

    neurons: int
    lengths: Int[np.ndarray, " trial"]
    trials: Int[np.ndarray, " part"]


def plan_epoch(
    parts: Sequence[Part], config: FitConfig, rng: np.random.Generator
) -> list[tuple[int, Int[np.ndarray, " batch"], Int[np.ndarray, " neuron"]]]:
    """A random order of batches, (session, trials, neurons), that visits every trial of every session once."""
    plan = []
    for session, part in enumerate(parts):
        size = max(1, config.rows // min(part.neurons, config.neurons))
        for group in group_trials(part.lengths, rng.permutation(part.trials), size):
            plan.append((session, group, choose_neurons(part.neurons, config.neurons, rng)))
    return [plan[index] for index in rng.permutation(len(plan))]


def choose_neurons(count: int, most: int, rng: np.random.Generator) -> Int[np.ndarray, " neuron"]:
    """All neurons, or `most` of them at random."""
    return np.arange(count) if count <= most else rng.choice(count, most, replace=False)


def trace_batches(
    sessions: Sequence[Session], config: FitConfig, window: int, *, seed: int
) -> list[Float[Tensor, "row frame"]]:
    """Training traces of one epoch, cut to whole windows; rows are (trial, neuron) pairs."""
    parts = [Part(len(each.neurons), each.frames // window * window, each.trials_of("train")) for each in sessions]
    batches = []
    for index, group, neurons in plan_epoch(parts, config, np.random.default_rng(seed)):
        frames = parts[index].lengths[group[0]]
        rows = [sessions[index].traces[trial][neurons, :frames] for trial in group]
        batches.append(torch.from_numpy(np.concatenate(rows)))
    return batches
