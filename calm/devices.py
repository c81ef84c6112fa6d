"""The device to compute on, what keeps it busy, and agreement between the processes of a run on several."""

import collections
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from calm.errors import CalmError, first_cause

Made = TypeVar("Made")
AHEAD = 2  # batches that wait for the device


def best_device() -> torch.device:
    """A CUDA GPU if there is one, else the CPU; nothing here was tried on other accelerators."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Say which computation had too little memory, and how it takes less.

    Raises:
        CalmError: it had.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise CalmError(f"{what}: there is too little memory ({first_cause(error)}): take fewer `rows`.") from error
        raise


def prepared_ahead(make: Callable[[int], Made], steps: Iterable[int]) -> Iterator[Made]:
    """What `map` would yield, but that the next of it is made on a thread while the last is used."""
    waiting: collections.deque[Future[Made]] = collections.deque()
    with ThreadPoolExecutor(max_workers=1) as worker:
        for step in steps:
            waiting.append(worker.submit(make, step))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def process_counts() -> tuple[int, int]:
    """Processes on each machine, and machines, as `torchrun` started them; without it, one on one."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return here, int(os.environ.get("WORLD_SIZE", 1)) // here


def process_rank() -> int:
    """Number of this process among all, from 0 on."""
    return int(os.environ.get("RANK", 0))


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace tensors by their sum over all processes; with one process nothing happens."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)


def from_first_rank(tensor: Tensor) -> None:
    """Replace a tensor by the first process's; with one process nothing happens."""
    if dist.is_initialized():
        dist.broadcast(tensor, src=0)


def rows_of_all_ranks(rows: Tensor) -> Tensor:
    """The rows of all processes, those of the first one first; processes may have unequally many."""
    if not dist.is_initialized():
        return rows
    counts = torch.zeros(dist.get_world_size(), dtype=torch.long, device=rows.device)
    counts[dist.get_rank()] = len(rows)
    sum_over_ranks(counts)
    padded = rows.new_zeros(int(counts.max()), *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([each[:count] for each, count in zip(gathered, counts.tolist(), strict=True)])
