"""What a model may know of a neuron before it learns anything: how it takes part in what its session does together."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


@functools.cache
def basis(width: int) -> Float[Tensor, "component channel"]:
    """Random orthogonal directions for components, the same for all sessions and models of this width."""
    drawn = torch.randn(width, width, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(drawn).Q


def loadings(traces: Float[np.ndarray, "neuron frame"], width: int) -> Float[Tensor, "neuron channel"]:
    """Loadings of neurons on the principal components of their traces, spread over all channels.

    Inner products of loadings are the correlations of the neurons' traces, as far as the `width` largest components
    hold them: neurons that are active together are close to each other. A component points to where most of its
    loadings are positive, so that the largest, what all neurons do together, is alike in all sessions. A neuron that
    never changes has none.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.nan_to_num(np.corrcoef(traces)).reshape(len(traces), len(traces))
    variances, components = np.linalg.eigh(correlations)
    variances, components = np.maximum(variances[::-1][:width], 0), components[:, ::-1][:, :width]
    components = components * np.where(components.sum(axis=0) < 0, -1, 1)
    shares = torch.from_numpy((components * np.sqrt(variances)).astype(np.float32))
    return shares @ basis(width)[: shares.shape[1]]


class Loadings(nn.Module):
    """Loadings of the neurons of each session: an input beside their embeddings, which nothing trains.

    Args:
        width: channels.
        size: root mean square of the channels; 0 is no loadings.
    """

    def __init__(self, width: int, size: float):
        super().__init__()
        self.width, self.size = width, size

    def add_session(self, neurons: int) -> None:
        """One more session, whose loadings are zero until its traces are seen."""
        rows = neurons if self.size else 1  # of a corpus they are many
        self.register_buffer(str(len(list(self.buffers()))), torch.zeros(rows, self.width))

    def of(self, place: int) -> Float[Tensor, "_neuron channel"]:
        """Those of a session's neurons, or a row of zeros for all of them."""
        return self.get_buffer(str(place))

    def see(self, place: int, traces: Sequence[Float[np.ndarray, "neuron _frame"]]) -> None:
        """Take the loadings of a session from its training trials."""
        if self.size:
            together = np.concatenate(traces, axis=1)
            self.of(place).copy_(self.size * self.width**0.5 * loadings(together, self.width))
