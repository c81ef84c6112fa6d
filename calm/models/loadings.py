"""Where the embeddings of neurons may start: at what each neuron has in common with the others of its session."""

import functools

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@functools.cache
def basis(width: int) -> Float[Tensor, "component channel"]:
    """Random orthogonal directions for components, the same for all sessions and models of this width."""
    drawn = torch.randn(width, width, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(drawn).Q


def loadings(traces: Float[np.ndarray, "neuron frame"], width: int) -> Float[Tensor, "neuron channel"]:
    """Loadings of neurons on the principal components of their traces, spread over all channels.

    Inner products of loadings are the correlations of the neurons' traces, as far as the `width` largest components
    hold them: neurons that are active together start close to each other. A component points to where most of its
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


@torch.no_grad()
def add_loadings(
    embeddings: Float[Tensor, "neuron channel"], traces: Float[np.ndarray, "neuron frame"], size: float
) -> None:
    """Add to the embeddings of a session's neurons their loadings, with this root mean square; 0 adds nothing."""
    if size:
        width = embeddings.shape[1]
        embeddings += size * width**0.5 * loadings(traces, width).to(embeddings)
