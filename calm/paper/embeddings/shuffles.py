"""Statistics of tuning gradients with shuffled labels and resampled neurons: what is found by chance (Fig. 7, 8C)."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from calm.paper.embeddings.analysis import (
    Embedded,
    PlaneFinder,
    Tuning,
    angle_between,
    fit_axes,
    fold_correlation,
    left_out_coordinates,
    standardise_embeddings,
    whole_correlation,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Shuffles:
    """Statistics of the tuning as it is, draw 0, and shuffled among the neurons of each session.

    Attributes:
        whole: correlation along axes found on all neurons.
        left_out: correlation of left-out neurons, mean over folds.
        angle: between the axes of the first two variables, degrees; NaN for a single variable.
    """

    whole: Float[np.ndarray, "draw variable"]
    left_out: Float[np.ndarray, "draw variable"]
    angle: Float[np.ndarray, " draw"]


def shuffle_within(sessions: Int[np.ndarray, " neuron"], rng: np.random.Generator) -> Int[np.ndarray, " neuron"]:
    """A random order of the neurons in which each place goes to a neuron of the same session."""
    shuffled = np.empty(len(sessions), int)
    shuffled[np.argsort(sessions, kind="stable")] = np.lexsort((rng.random(len(sessions)), sessions))
    return shuffled


def shuffle_labels(embedded: Embedded, tuning: Tuning, find_plane: PlaneFinder, *, draws: int, seed: int) -> Shuffles:
    """The analysis repeated with shuffled tuning, everything that depends on it found anew each time.

    The tuning to all variables is shuffled together: its joint distribution stays as it is, and so does everything
    about sessions. The authors shuffle once, which gives no p value.
    """
    rng = np.random.default_rng(seed)
    orders = [np.arange(len(tuning)), *(shuffle_within(embedded.sessions, rng) for _ in range(draws))]
    whole, left_out, angles = [], [], []
    for order in orders:
        shuffled = tuning[order]
        plane, axes = fit_axes(embedded.features, shuffled, find_plane)
        whole.append(whole_correlation(embedded.features @ plane @ axes, shuffled))
        coordinates = left_out_coordinates(embedded, shuffled, find_plane)
        left_out.append(fold_correlation(embedded, coordinates, shuffled))
        angles.append(angle_between(axes) if tuning.shape[1] > 1 else np.nan)
    return Shuffles(np.array(whole), np.array(left_out), np.array(angles))


def bootstrap_angles(
    embedded: Embedded, tuning: Tuning, find_plane: PlaneFinder, *, draws: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """Angle between the axes for neurons drawn with replacement from each session, everything found anew."""
    rng, neurons = np.random.default_rng(seed), len(tuning)
    by_session, sizes = np.argsort(embedded.sessions, kind="stable"), np.bincount(embedded.sessions)
    first = (np.cumsum(sizes) - sizes)[embedded.sessions]
    angles = []
    for _ in range(draws):
        drawn = by_session[first + (rng.random(neurons) * sizes[embedded.sessions]).astype(int)]
        features = standardise_embeddings(embedded.embeddings[drawn], np.arange(neurons))
        angles.append(angle_between(fit_axes(features, tuning[drawn], find_plane)[1]))
    return np.array(angles)
