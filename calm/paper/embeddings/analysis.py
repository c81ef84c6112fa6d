"""Tuning gradients among neuron embeddings: planes by PCA and LDA, and in them the axis of each variable (Fig. 5)."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

from calm.errors import CalmError
from calm.metrics import pearson

COMPONENTS = 50  # at most, before the discriminant analysis (authors' code)
NEURONS_PER_COMPONENT = 5  # at least; the paper does not say what it does with fewer neurons
FOLDS = 5
FEWEST = 20  # neurons; with fewer nothing is left to cross-validate
FEWEST_OF_A_KIND = 2  # neurons with each preference

Tuning = Float[np.ndarray, "neuron variable"]
# A plane through standardised embeddings: two directions, given these and the tuning.
PlaneFinder = Callable[[Float[np.ndarray, "neuron component"], Tuning], Float[np.ndarray, "component 2"]]


def standardise_embeddings(
    embeddings: Float[np.ndarray, "neuron channel"], train: Int[np.ndarray, " part"]
) -> Float[np.ndarray, "neuron component"]:
    """Robust scaling, then whitened PCA, both of the neurons `train` alone; for all neurons.

    At most COMPONENTS, and NEURONS_PER_COMPONENT neurons for each.
    """
    count = min(COMPONENTS, embeddings.shape[1], len(train) // NEURONS_PER_COMPONENT)
    steps = make_pipeline(RobustScaler(), PCA(count, whiten=True, svd_solver="covariance_eigh"))
    return steps.fit(embeddings[train].astype(float)).transform(embeddings.astype(float))


def principal_plane(
    features: Float[np.ndarray, "neuron component"], tuning: Tuning
) -> Float[np.ndarray, "component 2"]:
    """The first two principal components, which know nothing of the tuning (Fig. 5A)."""
    return np.eye(features.shape[1], 2)


def discriminant_plane(
    features: Float[np.ndarray, "neuron component"], tuning: Tuning
) -> Float[np.ndarray, "component 2"]:
    """The first two linear discriminants of the sign quadrants of the tuning (Fig. 5B).

    As scikit-learn's, with unit variance within the quadrants, but from the means of the quadrants alone: the features
    are white whatever the labels, so that shuffles cost next to nothing.
    """
    quadrant = (tuning > 0) @ (1 << np.arange(tuning.shape[1]))
    members = np.eye(1 << tuning.shape[1])[quadrant]
    counts = np.maximum(members.sum(axis=0), 1)
    means = (members.T @ features) / np.sqrt(counts * (len(features) - 1))[:, None]
    _, between, directions = np.linalg.svd(means, full_matrices=False)
    return directions[:2].T / np.sqrt(1 - between[:2] ** 2)


def fit_axes(
    features: Float[np.ndarray, "neuron component"], tuning: Tuning, find_plane: PlaneFinder
) -> tuple[Float[np.ndarray, "component 2"], Float[np.ndarray, "2 variable"]]:
    """A plane, and in it the direction of each variable that has the highest correlation with its tuning.

    No other direction correlates better than the slopes of a linear regression on the two coordinates.
    """
    plane = find_plane(features, tuning)
    slopes = np.linalg.lstsq(features @ plane, tuning - tuning.mean(axis=0))[0]
    return plane, slopes / np.linalg.norm(slopes, axis=0)


def angle_between(axes: Float[np.ndarray, "2 variable"]) -> float:
    """Angle between the axes of the first two variables, degrees from 0 to 180."""
    return float(np.degrees(np.arccos(np.clip(axes[:, 0] @ axes[:, 1], -1, 1))))


@dataclasses.dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings of tuned neurons, prepared so that a shuffle of the tuning costs little.

    Attributes:
        embeddings: as the model has them.
        sessions: number of each neuron's session.
        features: `standardise_embeddings` of all neurons.
        folds: numbers of training and left-out neurons, and features by the former alone.
    """

    embeddings: Float[np.ndarray, "neuron channel"]
    sessions: Int[np.ndarray, " neuron"]
    features: Float[np.ndarray, "neuron component"]
    folds: list[
        tuple[Int[np.ndarray, " _train"], Int[np.ndarray, " _left_out"], Float[np.ndarray, "neuron _component"]]
    ]

    @classmethod
    def prepare(
        cls,
        embeddings: Float[np.ndarray, "neuron channel"],
        sessions: Int[np.ndarray, " neuron"],
        seed: int,
    ) -> "Embedded":
        """Features of all neurons and of each fold; every fold has its share of each session.

        Raises:
            CalmError: too few neurons.
        """
        neurons = len(embeddings)
        if neurons < FEWEST:
            raise CalmError(f"{neurons} tuned neurons are too few: at least {FEWEST} are needed, from more sessions.")
        fold = np.empty(neurons, int)
        fold[np.lexsort((np.random.default_rng(seed).random(neurons), sessions))] = np.arange(neurons) % FOLDS
        splits = [(np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in range(FOLDS)]
        folds = [(train, out, standardise_embeddings(embeddings, train)) for train, out in splits]
        return cls(embeddings, sessions, standardise_embeddings(embeddings, np.arange(neurons)), folds)


def check_preferences(tuning: Tuning) -> None:
    """Refuse tuning of which one preference hardly occurs.

    Raises:
        CalmError: fewer than FEWEST_OF_A_KIND neurons on a side.
    """
    rarer = np.minimum((tuning > 0).sum(axis=0), (tuning <= 0).sum(axis=0)).min()
    if rarer < FEWEST_OF_A_KIND:
        raise CalmError(f"{rarer} tuned neurons of one preference are too few: use more neurons or sessions.")


@dataclasses.dataclass(frozen=True, eq=False)
class Gradients:
    """Axes found in embeddings, and what they are worth.

    Attributes:
        coordinates: of the neurons in the plane.
        axes: unit vectors in the plane.
        along: of each neuron along each axis, axes found on all neurons.
        left_out: the same, each neuron with axes found without it; its scale differs from fold to fold.
    """

    coordinates: Float[np.ndarray, "neuron 2"]
    axes: Float[np.ndarray, "2 variable"]
    along: Float[np.ndarray, "neuron variable"]
    left_out: Float[np.ndarray, "neuron variable"]


def find_gradients(embedded: Embedded, tuning: Tuning, find_plane: PlaneFinder) -> Gradients:
    """Axes of all neurons, as the authors do, and of the training neurons of each fold.

    Raises:
        CalmError: see `check_preferences`.
    """
    check_preferences(tuning)
    plane, axes = fit_axes(embedded.features, tuning, find_plane)
    coordinates = embedded.features @ plane
    return Gradients(coordinates, axes, coordinates @ axes, left_out_coordinates(embedded, tuning, find_plane))


def left_out_coordinates(
    embedded: Embedded, tuning: Tuning, find_plane: PlaneFinder
) -> Float[np.ndarray, "neuron variable"]:
    """Each neuron along the axes that are found without it."""
    left_out = np.empty(tuning.shape)
    for train, out, features in embedded.folds:
        plane, axes = fit_axes(features[train], tuning[train], find_plane)
        left_out[out] = features[out] @ plane @ axes
    return left_out


def whole_correlation(along: Tuning, target: Tuning) -> Float[np.ndarray, " variable"]:
    """Pearson correlation of each variable over all neurons."""
    return pearson(along.T, target.T)


def fold_correlation(embedded: Embedded, left_out: Tuning, target: Tuning) -> Float[np.ndarray, " variable"]:
    """Pearson correlation of each variable over the left-out neurons of a fold, mean over the folds.

    Not over the neurons of all folds together: the mean of the others tells a little of the mean of the left-out ones.
    """
    return np.mean([pearson(left_out[out].T, target[out].T) for _, out, _ in embedded.folds], axis=0)


def session_correlations(
    embedded: Embedded, left_out: Tuning, target: Tuning, fewest: int = 5
) -> dict[int, Float[np.ndarray, " variable"]]:
    """Pearson correlation over the left-out neurons of each session that has at least `fewest`, by its number."""
    rows = {int(session): np.flatnonzero(embedded.sessions == session) for session in np.unique(embedded.sessions)}
    return {session: pearson(left_out[own].T, target[own].T) for session, own in rows.items() if len(own) >= fewest}
