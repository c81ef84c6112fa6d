"""Tuning gradients in neuron embeddings: planes by PCA and LDA, and in them the axis of each variable (Fig. 5, 7)."""

import dataclasses
from collections.abc import Callable, Iterator

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
    embeddings: Float[np.ndarray, "neuron channel"], train: Int[np.ndarray, " _train"]
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

        Not scikit-learn's StratifiedKFold, which warns of sessions with fewer neurons than folds.

        Raises:
            CalmError: too few neurons.
        """
        neurons = len(embeddings)
        if neurons < FEWEST:
            raise CalmError(f"{neurons} tuned neurons are too few: at least {FEWEST} are needed, from more sessions.")
        fold = np.empty(neurons, int)
        fold[np.lexsort((np.random.default_rng(seed).random(neurons), sessions))] = np.arange(neurons) % FOLDS
        splits = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(FOLDS)]
        folds = [(train, out, standardise_embeddings(embeddings, train)) for train, out in splits]
        return cls(embeddings, sessions, standardise_embeddings(embeddings, np.arange(neurons)), folds)


@dataclasses.dataclass(frozen=True, eq=False)
class Gradients:
    """Axes through embeddings, and what they are worth.

    Attributes:
        coordinates: of the neurons in the plane.
        axes: unit vectors in the plane.
        along: of each neuron along each axis, axes fitted to all neurons.
        left_out: the same, each neuron with axes fitted without it; its scale differs from fold to fold.
    """

    coordinates: Float[np.ndarray, "neuron 2"]
    axes: Float[np.ndarray, "2 variable"]
    along: Float[np.ndarray, "neuron variable"]
    left_out: Float[np.ndarray, "neuron variable"]


def find_gradients(embedded: Embedded, tuning: Tuning, find_plane: PlaneFinder) -> Gradients:
    """Axes of all neurons, as the authors do, and of the training neurons of each fold."""
    plane, axes = fit_axes(embedded.features, tuning, find_plane)
    coordinates, left_out = embedded.features @ plane, np.empty(tuning.shape)
    for train, out, features in embedded.folds:
        fold_plane, fold_axes = fit_axes(features[train], tuning[train], find_plane)
        left_out[out] = features[out] @ fold_plane @ fold_axes
    return Gradients(coordinates, axes, coordinates @ axes, left_out)


def check_preferences(tuning: Tuning) -> None:
    """Refuse tuning of which one preference hardly occurs.

    Raises:
        CalmError: fewer than FEWEST_OF_A_KIND neurons on a side.
    """
    rarer = np.minimum((tuning > 0).sum(axis=0), (tuning <= 0).sum(axis=0)).min()
    if rarer < FEWEST_OF_A_KIND:
        raise CalmError(f"{rarer} tuned neurons of one preference are too few: use more neurons or sessions.")


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
    enough = {session: members for session, members in rows.items() if len(members) >= fewest}
    return {session: pearson(left_out[members].T, target[members].T) for session, members in enough.items()}


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


@dataclasses.dataclass(frozen=True, eq=False)
class GradientDraws:
    """Statistics of the tuning as it is, draw 0, and shuffled among the neurons of each session.

    Attributes:
        in_sample: correlation along axes fitted to all neurons.
        left_out: correlation of left-out neurons, mean over folds.
        angle: between the axes of the first two variables, degrees; NaN for a single variable.
    """

    in_sample: Float[np.ndarray, "draw variable"]
    left_out: Float[np.ndarray, "draw variable"]
    angle: Float[np.ndarray, " draw"]


def shuffle_tuning(
    embedded: Embedded, tuning: Tuning, find_plane: PlaneFinder, *, draws: int, seed: int
) -> GradientDraws:
    """The analysis repeated with shuffled tuning, everything that depends on it fitted anew each time.

    The tuning to all variables is shuffled together: its joint distribution stays as it is, and so does everything
    about sessions. The authors shuffle once, which gives no p value.
    """
    in_sample, left_out, angles = [], [], []
    for order in orders_within(embedded.sessions, draws=draws, seed=seed):
        shuffled = tuning[order]
        gradients = find_gradients(embedded, shuffled, find_plane)
        in_sample.append(whole_correlation(gradients.along, shuffled))
        left_out.append(fold_correlation(embedded, gradients.left_out, shuffled))
        angles.append(angle_between(gradients.axes))
    return GradientDraws(np.array(in_sample), np.array(left_out), np.array(angles))


def bootstrap_angles(
    embedded: Embedded, tuning: Tuning, find_plane: PlaneFinder, *, draws: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """Angle between the axes for neurons drawn with replacement from each session, everything fitted anew."""
    rng, neurons = np.random.default_rng(seed), len(tuning)
    by_session, sizes = np.argsort(embedded.sessions, kind="stable"), np.bincount(embedded.sessions)
    first = (np.cumsum(sizes) - sizes)[embedded.sessions]
    angles = []
    for _ in range(draws):
        drawn = by_session[first + (rng.random(neurons) * sizes[embedded.sessions]).astype(int)]
        features = standardise_embeddings(embedded.embeddings[drawn], np.arange(neurons))
        angles.append(angle_between(fit_axes(features, tuning[drawn], find_plane)[1]))
    return np.array(angles)
