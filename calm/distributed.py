"""Agreement between the processes of a run on several devices; nothing happens in a run on one."""

import torch.distributed as dist
from torch import Tensor


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace tensors by their sum over all processes."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)


def from_first_rank(tensor: Tensor) -> None:
    """Replace a tensor by the first process's."""
    if dist.is_initialized():
        dist.broadcast(tensor, src=0)
