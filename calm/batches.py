"""Batches of one session and one trial length, for both stages: no padding, no masks."""

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


def plan_epoch(
    lengths: Sequence[Int[np.ndarray, " _trial"]],
    trials: Sequence[Int[np.ndarray, " _part"]],
    size: int,
    rng: np.random.Generator,
) -> list[tuple[int, Int[np.ndarray, " batch"]]]:
    """A random order of (session, trials) batches that visits every trial of every session once."""
    plan = [
        (session, group)
        for session, part in enumerate(trials)
        for group in group_trials(lengths[session], rng.permutation(part), size)
    ]
    return [plan[index] for index in rng.permutation(len(plan))]


def choose_neurons(count: int, most: int, rng: np.random.Generator) -> Int[np.ndarray, " neuron"]:
    """All neurons, or `most` of them at random."""
    return np.arange(count) if count <= most else rng.choice(count, most, replace=False)


def trace_batches(
    sessions: Sequence[Session], config: FitConfig, window: int, *, seed: int
) -> list[Float[Tensor, "row frame"]]:
    """Training traces of one epoch, cut to whole windows; rows are (trial, neuron) pairs."""
    rng = np.random.default_rng(seed)
    lengths = [session.frames // window for session in sessions]
    batches = []
    for index, group in plan_epoch(lengths, [session.trials_of("train") for session in sessions], config.trials, rng):
        session, frames = sessions[index], lengths[index][group[0]] * window
        neurons = choose_neurons(len(session.neurons), config.neurons, rng)
        batches.append(np.concatenate([session.traces[trial][neurons, :frames] for trial in group]))
    return [torch.from_numpy(batch) for batch in batches]
