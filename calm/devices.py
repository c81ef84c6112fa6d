"""The device to compute on, and agreement between the processes of a run on several."""

import torch
import torch.distributed as dist
from torch import Tensor


def best_device() -> torch.device:
    """A CUDA GPU if there is one, else the CPU; nothing here was tried on other accelerators."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace tensors by their sum over all processes; on a single device nothing happens."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)


def from_first_rank(tensor: Tensor) -> None:
    """Replace a tensor by the first process's; on a single device nothing happens."""
    if dist.is_initialized():
        dist.broadcast(tensor, src=0)
