"""An exponential moving average of a model's weights, whose cost does not grow with what a step leaves alone."""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """A copy of a model whose weights follow it; a weight moves only in the steps that trained it.

    With one set of embeddings per session, a step trains those of one session: to average all of them in every step, as
    `torch.optim.swa_utils.AveragedModel` would, makes a step as slow as the corpus is large.

    Attributes:
        module: the averaged model, at first the model as it is.
    """

    def __init__(self, model: nn.Module, decay: float):
        """`decay` is the share of the average that is kept in a step; 0 keeps none, so that it equals the model."""
        self.module = copy.deepcopy(model)
        self.move = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Follow the weights that have a gradient, and take the buffers over as they are."""
        pairs = zip(self.module.parameters(), model.parameters(), strict=True)
        trained = [(average.detach(), weight.detach()) for average, weight in pairs if weight.grad is not None]
        self.move([average for average, _ in trained], [weight for _, weight in trained], 0)
        for average, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and buffers of the averaged model."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what `state_dict` gave."""
        self.module.load_state_dict(state)
