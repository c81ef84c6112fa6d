"""Randomness that is set for a block of code and leaves the caller's as it was."""

import contextlib
from collections.abc import Iterator

import torch


def step_seed(seed: int, step: int) -> int:
    """A seed for each step of each run."""
    return seed * 100_000_007 + step


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch within the block; its random state before and after are the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
