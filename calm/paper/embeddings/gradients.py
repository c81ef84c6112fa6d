"""Tuning gradients in neuron embeddings: planes by PCA and LDA, and in them the axis of each variable (Fig. 5, 7)."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
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
FEWEST_OF_A_SESSION = 5  # neurons for a correlation of a session
IN_SAMPLE, LEFT_OUT, ANGLE = "in-sample", "left-out neurons", "angle (degrees)"  # statistics of gradients

Tuning = Float[np.ndarray, "neuron variable"]
# A plane through standardised embeddings: two directions, given these and the tuning.
PlaneFinder = Callable[[Float[np.ndarray, "neuron component"], Tuning], Float[np.ndarray, "component 2"]]


def standardise_embeddings(
    embeddings: Float[np.ndarray, "neuron channel"], train: Int[np.ndarray, " _train"]
) -> Float[np.ndarray, "neuron component"]:
    """Robust scaling, then whitened PCA, both of the neurons `train` alone; for all neurons.

    At most COMPONENTS, and NEURONS_PER_COMPONENT neurons for each.
    """
    count = min(COMPONENTS, embeddings.shape[1], len(train) // NEURONS_PER_COMPONENT)
    steps = make_pipeline(RobustScaler(), PCA(count, whiten=True, svd_solver="covariance_eigh"))
    return steps.fit(embeddings[train].astype(float)).transform(embeddings.astype(float))


@dataclasses.dataclass(frozen=True, eq=False)
class NeuronFeatures:
    """Embeddings of neurons, prepared so that a shuffle of their tuning costs little.

    Attributes:
        embeddings: as the model has them.
        sessions: number of each neuron's session.
        whole: `standardise_embeddings` of all neurons.
        folds: numbers of training and left-out neurons, and features by the former alone.
    """

    embeddings: Float[np.ndarray, "neuron channel"]
    sessions: Int[np.ndarray, " neuron"]
    whole: Float[np.ndarray, "neuron component"]
    folds: list[
        tuple[Int[np.ndarray, " _train"], Int[np.ndarray, " _left_out"], Float[np.ndarray, "neuron _component"]]
    ]

    @classmethod
    def prepare(
        cls, embeddings: Float[np.ndarray, "neuron channel"], sessions: Int[np.ndarray, " neuron"], seed: int
    ) -> "NeuronFeatures":
        """Features of all neurons and of each fold; every fold has its share of each session.

        Not scikit-learn's StratifiedKFold, which warns of sessions with fewer neurons than folds.

        Raises:
            CalmError: too few neurons, or embeddings that do not differ.
        """
        neurons = len(embeddings)
        if neurons < FEWEST:
            raise CalmError(f"{neurons} tuned neurons are too few: at least {FEWEST} are needed, from more sessions.")
        if not np.ptp(embeddings, axis=0).any():  # as of new sessions that adapting taught nothing about
            raise CalmError(f"The embeddings of all {neurons} tuned neurons are alike: train for more steps.")
        fold = np.empty(neurons, int)
        fold[np.lexsort((np.random.default_rng(seed).random(neurons), sessions))] = np.arange(neurons) % FOLDS
        splits = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(FOLDS)]
        folds = [(train, out, standardise_embeddings(embeddings, train)) for train, out in splits]
        return cls(embeddings, sessions, standardise_embeddings(embeddings, np.arange(neurons)), folds)

    def fold_correlation(self, left_out: Tuning, target: Tuning) -> Float[np.ndarray, " variable"]:
        """Pearson correlation of each variable over the left-out neurons of a fold, mean over the folds.

        Not over the neurons of all folds together: the mean of the others tells a little of the mean of the left-out
        ones.
        """
        return np.mean([pearson(left_out[out].T, target[out].T) for _, out, _ in self.folds], axis=0)


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
    are white whatever the tuning, so that shuffles cost next to nothing.
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
    """Angle between the axes of the first two variables, degrees from 0 to 180; NaN for a single variable."""
    if axes.shape[1] < 2:
        return float("nan")
    return float(np.degrees(np.arccos(np.clip(axes[:, 0] @ axes[:, 1], -1, 1))))


@dataclasses.dataclass(frozen=True, eq=False)
class Gradients:
    """Axes of tuning through a plane of embeddings.

    Attributes:
        features: of the neurons.
        tuning: that the axes were fitted to.
        coordinates: of the neurons in the plane.
        axes: unit vectors in the plane.
        left_out: each neuron along the axes that were fitted without it; the scale differs from fold to fold.
    """

    features: NeuronFeatures
    tuning: Tuning
    coordinates: Float[np.ndarray, "neuron 2"]
    axes: Float[np.ndarray, "2 variable"]
    left_out: Float[np.ndarray, "neuron variable"]

    @classmethod
    def fit(cls, features: NeuronFeatures, tuning: Tuning, find_plane: PlaneFinder) -> "Gradients":
        """Axes of all neurons, as the authors do, and of the training neurons of each fold.

        Raises:
            CalmError: fewer than FEWEST_OF_A_KIND neurons of a preference.
        """
        rarer = np.minimum((tuning > 0).sum(axis=0), (tuning <= 0).sum(axis=0)).min()
        if rarer < FEWEST_OF_A_KIND:
            raise CalmError(f"{rarer} tuned neurons of one preference are too few: use more neurons or sessions.")
        plane, axes = fit_axes(features.whole, tuning, find_plane)
        left_out = np.empty(tuning.shape)
        for train, out, of_fold in features.folds:
            fold_plane, fold_axes = fit_axes(of_fold[train], tuning[train], find_plane)
            left_out[out] = of_fold[out] @ fold_plane @ fold_axes
        return cls(features, tuning, features.whole @ plane, axes, left_out)

    def correlations(self, target: Tuning) -> dict[str, Float[np.ndarray, " variable"]]:
        """Pearson correlation with a target along the axes of all neurons, and of left-out neurons, mean over folds."""
        along = self.coordinates @ self.axes
        return {IN_SAMPLE: pearson(along.T, target.T), LEFT_OUT: self.features.fold_correlation(self.left_out, target)}

    def session_correlations(self, target: Tuning) -> dict[int, Float[np.ndarray, " variable"]]:
        """Correlation over the left-out neurons of each session with enough of them, by its number."""
        members = pd.Series(self.features.sessions).groupby(self.features.sessions).indices
        enough = {int(session): rows for session, rows in members.items() if len(rows) >= FEWEST_OF_A_SESSION}
        return {session: pearson(self.left_out[rows].T, target[rows].T) for session, rows in enough.items()}

    def statistics(self) -> dict[str, Float[np.ndarray, "*variable"]]:
        """What is compared with shuffles: the correlations with the tuning, and the angle between the axes."""
        return {**self.correlations(self.tuning), ANGLE: np.array(angle_between(self.axes))}


def orders_within(
    sessions: Int[np.ndarray, " neuron"], *, draws: int, seed: int
) -> Iterator[Int[np.ndarray, " neuron"]]:
    """The order of the neurons as it is, draw 0, then random ones; each place goes to a neuron of the same session."""
    rng, by_session = np.random.default_rng(seed), np.argsort(sessions, kind="stable")
    yield np.arange(len(sessions))
    for _ in range(draws):
        shuffled = np.empty(len(sessions), int)
        shuffled[by_session] = np.lexsort((rng.random(len(sessions)), sessions))
        yield shuffled


def shuffle_tuning(
    features: NeuronFeatures, tuning: Tuning, find_plane: PlaneFinder, *, draws: int, seed: int
) -> dict[str, Float[np.ndarray, " draw *variable"]]:
    """`Gradients.statistics` of the tuning as it is, draw 0, and shuffled among the neurons of each session.

    Everything that depends on the tuning is fitted anew. The tuning to all variables is shuffled together: its joint
    distribution stays as it is, and so does everything about sessions. The authors shuffle once, which gives no p.
    """
    orders = orders_within(features.sessions, draws=draws, seed=seed)
    statistics = [Gradients.fit(features, tuning[order], find_plane).statistics() for order in orders]
    return {name: np.array([draw[name] for draw in statistics]) for name in statistics[0]}


def bootstrap_angles(
    features: NeuronFeatures, tuning: Tuning, find_plane: PlaneFinder, *, draws: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """Angle between the axes for neurons drawn with replacement from each session, everything fitted anew."""
    rng, neurons, sessions = np.random.default_rng(seed), len(tuning), features.sessions
    by_session, sizes = np.argsort(sessions, kind="stable"), np.bincount(sessions)
    first = (np.cumsum(sizes) - sizes)[sessions]
    angles = []
    for _ in range(draws):
        drawn = by_session[first + (rng.random(neurons) * sizes[sessions]).astype(int)]
        standardised = standardise_embeddings(features.embeddings[drawn], np.arange(neurons))
        angles.append(angle_between(fit_axes(standardised, tuning[drawn], find_plane)[1]))
    return np.array(angles)
