"""Training on several processes: all of them train the backbone, and each the embeddings of its own sessions.

Sessions are in groups, and a step takes a batch of every group. Processes share the groups out, so that a step is the
same on one process and on many, and nothing of a session is sent anywhere but into checkpoints.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm, parameters_to_vector, vector_to_parameters

from calm.config.fitting import FitConfig
from calm.devices import best_device, process_counts, process_rank, sum_over_ranks
from calm.errors import CalmError


class SharedBackbone(DDPStrategy):
    """Fabric's processes, but not the wrapper that would make all of them agree on every parameter."""

    def setup_module(self, module: nn.Module) -> nn.Module:
        """The model as it is: see `Partition.sum_gradients`."""
        return module


def start_fabric(config: FitConfig) -> Fabric:
    """Fabric on as many processes as `torchrun` started."""
    here, machines = process_counts()
    fabric = Fabric(
        accelerator=best_device().type,
        strategy=SharedBackbone() if here * machines > 1 else "auto",
        devices=here,
        num_nodes=machines,
        precision=config.precision,
    )
    fabric.launch()
    return fabric


def group_sessions(work: Sequence[int], groups: int) -> list[list[int]]:
    """Sessions of each group, equally many but for one and with about as much work in a batch.

    Args:
        work: of each session.
        groups: at most; there are never more than sessions.
    """
    members: list[list[int]] = [[] for _ in range(min(groups, len(work)))]
    largest_first = sorted(range(len(work)), key=lambda session: -work[session])
    for start in range(0, len(work), len(members)):
        least_first = sorted(members, key=lambda group: sum(work[session] for session in group))
        for group, session in zip(least_first, largest_first[start : start + len(members)], strict=False):
            group.append(session)
    return [sorted(group) for group in members]


def groups_here(groups: int) -> range:
    """Which of the groups of sessions this process trains.

    Raises:
        CalmError: they cannot be shared evenly.
    """
    here, machines = process_counts()
    each, left = divmod(groups, here * machines)
    if left:
        raise CalmError(
            f"{groups} groups of sessions cannot be shared evenly by {here * machines} processes: start fewer, or set"
            " `session_groups` of the profile's fit to a multiple (there are never more groups than sessions)."
        )
    return range(process_rank() * each, (process_rank() + 1) * each)


class Partition:
    """What this process trains of a model.

    Args:
        model: the whole of it, of which other processes train the parameters of other sessions.
        kinds: beginnings of the names of parameters that belong to sessions.
        sessions: of this process, by their place in the model.
    """

    def __init__(self, model: nn.Module, kinds: tuple[str, ...], sessions: Sequence[int]):
        self.processes = dist.get_world_size() if dist.is_initialized() else 1
        self.kinds = kinds
        self.names = tuple(f"{kind}{session}" for kind in kinds for session in sessions)
        trained = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
        self.backbone = [each for name, each in trained if not name.startswith(kinds)]
        self.embeddings = [each for name, each in trained if name.startswith(kinds)]

    def batch_weights(self, counts: Sequence[int], device: torch.device) -> list[float | Tensor]:
        """Weight of each batch in the loss of a step, so that every prediction of all processes counts alike."""
        total = sum(counts)
        if self.processes > 1:
            total = torch.tensor(total, dtype=torch.float64, device=device)
            sum_over_ranks(total)
        return [count / total for count in counts]

    def total(self, value: float, device: torch.device) -> float:
        """The sum of a number over processes."""
        number = torch.tensor(value, dtype=torch.float64, device=device)
        sum_over_ranks(number)
        return float(number)

    def trains(self, parameter: str) -> bool:
        """Whether this process trains the parameter of that name."""
        return self.processes == 1 or not parameter.startswith(self.kinds) or parameter in self.names

    def sum_gradients(self) -> None:
        """Add up the gradients of the backbone over processes."""
        gradients = gradients_of(self.backbone)
        if self.processes > 1 and gradients:
            together = parameters_to_vector(gradients)
            sum_over_ranks(together)
            vector_to_parameters(together, gradients)

    def clip_gradients(self, optimizer: torch.optim.Optimizer, most: float) -> Tensor:
        """Scale all gradients down if their norm, over all processes, exceeds `most`; returns the norm."""
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        norm = get_total_norm(gradients_of(parameters))
        if self.processes > 1:
            squared = get_total_norm(gradients_of(self.embeddings)).to(norm) ** 2
            sum_over_ranks(squared)
            norm = (get_total_norm(gradients_of(self.backbone)).to(norm) ** 2 + squared).sqrt()
        clip_grads_with_norm_(parameters, most, norm)
        return norm

    def gather(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let the first process have each session's tensors from where it is trained; names end with a parameter's."""
        if self.processes == 1:
            return tensors
        here = {name: tensor.cpu() for name, tensor in tensors.items() if name.endswith(self.names)}
        everywhere = [None] * self.processes if dist.get_rank() == 0 else None
        dist.gather_object(here, everywhere)
        for theirs in everywhere or []:
            tensors = {**tensors, **theirs}
        return tensors


def gradients_of(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Of those that took part in the step."""
    return [each.grad for each in parameters if each.grad is not None]
