"""What a model may know of a neuron before it learns anything: how it takes part in what its session does together."""

import contextlib
import functools
from collections.abc import Iterator, Sequence

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

    Inner products of loadings are the correlations of the neurons' traces, as far as they can be told from noise and
    the `width` largest components hold them: neurons that are active together are close to each other. A component
    points to where most of its loadings are positive, so that the largest, what all neurons do together, is alike in
    all sessions. A neuron that never changes has none.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.nan_to_num(np.corrcoef(traces)).reshape(len(traces), len(traces))
    variances, components = np.linalg.eigh(correlations)
    variances, components = variances[::-1][:width], components[:, ::-1][:, :width]
    components = components * np.where(components.sum(axis=0) < 0, -1, 1)
    told = without_noise(variances, len(traces) / effective_frames(traces))
    shares = torch.from_numpy((components * np.sqrt(told)).astype(np.float32))
    return shares @ basis(width)[: shares.shape[1]]


def without_noise(variances: Float[np.ndarray, " component"], ratio: float) -> Float[np.ndarray, " component"]:
    """Variances of principal components, less what they owe to noise; none where noise alone may have as much.

    Shrunk like this, correlations have the least squared error (Frobenius loss of Donoho, Gavish and Johnstone 2018,
    Annals of Statistics 46, for noise of variance 1: all that a neuron has, so that nothing is believed too soon).

    Args:
        variances: eigenvalues of a correlation matrix.
        ratio: neurons by independent frames.
    """
    excess = np.maximum(variances - 1 - ratio, 2 * ratio**0.5)
    true = (excess + np.sqrt(np.maximum(excess**2 - 4 * ratio, 0))) / 2
    return np.maximum(true**2 - ratio, 0) / (true + ratio)


def effective_frames(traces: Float[np.ndarray, "neuron frame"]) -> float:
    """How many independent frames leave correlations between unrelated traces as uncertain as these (Bartlett 1935).

    The slower the traces, the fewer. Their autocorrelation is the mean over neurons, up to where it is negative.
    """
    frames = traces.shape[1]
    shifted = np.zeros(frames)
    for trace in traces.astype(np.float64):
        power = np.abs(np.fft.rfft(trace - trace.mean(), 2 * frames)) ** 2
        shifted += np.fft.irfft(power / max(power.mean(), np.finfo(float).tiny))[:frames]
    positive = shifted[: np.argmax(shifted < 0) or None] / max(shifted[0], np.finfo(float).tiny)
    return frames / max(1.0, 2 * np.square(positive).sum() - 1)


class Loadings(nn.Module):
    """Loadings of the neurons of each session: an input beside their embeddings, which nothing trains.

    Args:
        width: channels.
        size: root mean square of the channels of a neuron that is wholly explained by others; 0 is no loadings.
        dropout: how often none are known in training, so that a model can do without.
    """

    def __init__(self, width: int, size: float, dropout: float):
        super().__init__()
        self.width, self.size, self.dropout = width, size, dropout

    def add_session(self, neurons: int) -> None:
        """One more session, whose loadings are zero until its traces are seen."""
        rows = neurons if self.size else 1  # of a corpus they are many
        self.register_buffer(str(len(list(self.buffers()))), torch.zeros(rows, self.width))

    def of(self, place: int) -> Float[Tensor, "_neuron channel"]:
        """Those of a session's neurons, or a row of zeros for all of them."""
        known = self.get_buffer(str(place))
        hidden = self.training and self.size and torch.rand(()) < self.dropout
        return torch.zeros_like(known) if hidden else known

    def see(self, place: int, traces: Sequence[Float[np.ndarray, "neuron _frame"]]) -> None:
        """Take the loadings of a session from its training trials."""
        if self.size:
            together = np.concatenate(traces, axis=1)
            self.get_buffer(str(place)).copy_(self.size * self.width**0.5 * loadings(together, self.width))

    @contextlib.contextmanager
    def hidden(self) -> Iterator[bool]:
        """None known for a while; whether there are any."""
        known = [each.clone() for each in self.buffers()]
        for each in self.buffers():
            each.zero_()
        try:
            yield any(bool(each.any()) for each in known)
        finally:
            for each, value in zip(self.buffers(), known, strict=True):
                each.copy_(value)
