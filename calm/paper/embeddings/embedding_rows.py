"""Names and rows of the results on embeddings, and the embeddings of a transformer as arrays."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import nn

from calm.data.session import Session
from calm.models.transformer import DualAxisTransformer
from calm.paper.results import Row

ALL = "all"  # split and session of a number that is of all trials, or of all sessions together
IN_SAMPLE, LEFT_OUT, EACH_SESSION = "in-sample", "left-out neurons", "left-out neurons, each session"
TUNING_CORR, TRUE_CORR, ANGLE = "corr with tuning", "corr with true tuning", "angle (degrees)"
D_PRIME_CORR, VARIABLES_CORR = "corr of d' with true tuning", "corr of d' of the two"
READ_OUT_CORR = "corr of ridge read-out"
SHUFFLED, RESAMPLED = "shuffled labels", "resampled neurons"
COORDINATES = ("first coordinate", "second coordinate")  # in the plane


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuronRow(Row):
    """The number of a single neuron, for scatter plots; kept in an item of its own, as `fig5b_neurons`."""

    neuron: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawRow(Row):
    """A statistic in one shuffle of the labels, as `fig7a`; draw 0 is the statistic as observed."""

    draw: int


def vectors(parameters: Sequence[nn.Parameter]) -> Float[np.ndarray, "row channel"]:
    """Parameters as one array, a row for each embedding."""
    return np.concatenate([np.atleast_2d(parameter.detach().float().cpu().numpy()) for parameter in parameters])


def neuron_embeddings(
    transformer: DualAxisTransformer, sessions: Sequence[Session]
) -> Float[np.ndarray, "neuron channel"]:
    """The embeddings of all neurons of some sessions, one session after the other."""
    return vectors([transformer.neuron_embeddings[transformer.index[session.name]] for session in sessions])


def session_embeddings(
    transformer: DualAxisTransformer, sessions: Sequence[Session]
) -> Float[np.ndarray, "session channel"]:
    """The embedding of each session."""
    return vectors([transformer.session_embeddings[transformer.index[session.name]] for session in sessions])


@dataclasses.dataclass(frozen=True)
class Items:
    """Names of the figures of one group of sessions."""

    principal: str
    discriminant: str
    shuffles: tuple[str, str]  # of the first and the second variable
    read_out: str


ITEMS = {
    "held-in": Items("fig5a", "fig5b", ("fig7a", "fig7b"), "fig5_read_out"),
    "held-out": Items("fig8a", "fig8b", ("fig8c", "fig8c"), "fig8_read_out"),
}
