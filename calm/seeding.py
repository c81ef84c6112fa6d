"""Randomness that is set for a block of code and leaves the caller's as it was."""

import contextlib
from collections.abc import Iterator

import torch


def step_seed(seed: int, step: int, group: int = 0) -> int:
    """A seed for each step of each run, and in it for each group of sessions, counted from 1."""
    return seed * 100_000_007 + step + group * 2**40


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch within the block; its random state before and after are the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
