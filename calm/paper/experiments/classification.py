"""Classes told apart by logistic regression, and with shuffled classes: of sessions, neurons and trials (Fig. 6)."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from calm.data.session import SPLITS
from calm.errors import CalmError
from calm.paper.claims.statistics import permutation_p
from calm.paper.results import Results

FOLDS = 5  # at most: no more than the rarest class has members
MOST_NEURONS = 4000  # classified at most, drawn at random; the refits for shuffled classes take hours with all of them
INVERSE_PENALTIES = tuple(10.0**power for power in range(-4, 2))  # scikit-learn's C


@dataclasses.dataclass(frozen=True, eq=False)
class Classification:
    """How well classes can be told.

    Attributes:
        predictions: a row for each that was classified: its class (`true`) and what it was taken for (`predicted`).
        draws: a column a score, a row a draw: as observed, draw 0, and with shuffled classes.
        note: what a reader should know about how it was done.
    """

    predictions: pd.DataFrame
    draws: pd.DataFrame
    note: str = ""

    @property
    def count(self) -> int:
        """How many were classified."""
        return len(self.predictions)


# --- Sessions and neurons, by their embeddings (Fig. 6, Table 9)


def classify_embeddings(
    embeddings: Float[np.ndarray, "row channel"],
    classes: pd.Series,
    sessions: pd.Series,
    *,
    whole_sessions: bool,
    draws: int,
    seed: int,
) -> Classification:
    """Predict the class of each embedding with a model of the others: `accuracy` and `balanced accuracy`.

    All of a session is of one class. Shuffles therefore deal the classes out anew among sessions, not among neurons:
    neurons of a session may be alike for reasons that have nothing to do with it.

    Args:
        embeddings: of neurons or sessions.
        classes: of each, as the mouse; those with a single member are left out.
        sessions: name of the session that each belongs to; kept in the predictions.
        whole_sessions: leave out whole sessions. Otherwise, as in the paper, single rows: then most neurons of a
            session are trained on, and a classifier may know the session instead of the class.
        draws: number of shuffles.
        seed: of folds and shuffles.

    Raises:
        CalmError: fewer than two classes have two members.
    """
    table = pd.DataFrame({"true": classes.astype(str).to_numpy(), "session": sessions.to_numpy()})
    table["unit"] = table["session"] if whole_sessions else np.arange(len(table))
    members = table.groupby("true")["unit"].nunique()
    if (few := (members > 1).sum()) < 2:
        raise CalmError(f"{few} classes with two members or more are too few to classify: use more sessions.")
    rows = np.flatnonzero(table["true"].map(members) > 1)
    table, features = table.iloc[rows].reset_index(drop=True), embeddings[rows].astype(float)
    cases = [table, *shuffled_classes(table, draws, seed)]
    predictions = [predict_left_out(features, case, seed) for case in cases]
    alone = ", ".join(members.index[members == 1])
    note = f"{count_folds(table)} folds" + (f", left out with a single member: {alone}" if alone else "")
    return Classification(predictions[0], pd.DataFrame(map(accuracies, predictions)), note)


def count_folds(table: pd.DataFrame) -> int:
    """FOLDS, or as many as the rarest class has members (column `unit`)."""
    return max(2, min(FOLDS, int(table.groupby("true")["unit"].nunique().min())))


def predict_left_out(features: Float[np.ndarray, "row channel"], table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table with the class that is predicted for each row by a model of other units (column `unit`)."""
    units = table.drop_duplicates("unit")
    splitter = StratifiedKFold(count_folds(table), shuffle=True, random_state=seed)
    inside = [table["unit"].isin(units["unit"].iloc[out]) for _, out in splitter.split(units, units["true"])]
    splits = [(np.flatnonzero(~out), np.flatnonzero(out)) for out in inside]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
    return table.assign(predicted=cross_val_predict(model, features, table["true"].to_numpy(), cv=splits))


def shuffled_classes(table: pd.DataFrame, draws: int, seed: int) -> Iterable[pd.DataFrame]:
    """The table with the classes dealt out anew among the sessions."""
    rng = np.random.default_rng(seed)
    classes = table.drop_duplicates("session").set_index("session")["true"]
    for _ in range(draws):
        dealt = pd.Series(rng.permutation(classes.to_numpy()), index=classes.index)
        yield table.assign(true=table["session"].map(dealt).to_numpy())


def accuracies(predictions: pd.DataFrame) -> dict[str, float]:
    """Share that was told right, and the mean of that share over the classes."""
    true, predicted = predictions["true"], predictions["predicted"]
    return {
        "accuracy": float((true == predicted).mean()),
        "balanced accuracy": float(balanced_accuracy_score(true, predicted)),
    }


def draw_neurons(count: int, seed: int) -> Int[np.ndarray, " chosen"]:
    """Numbers of the neurons to classify: all, or MOST_NEURONS of them at random."""
    if count <= MOST_NEURONS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, MOST_NEURONS, replace=False))


SOURCES = SESSION, NEURON, NEW_SESSION = "session embedding", "neuron embedding", "neuron embedding, new sessions"
CONFUSIONS = {"mouse": "fig6a", "area": "fig6b", "layer": "fig6_layer"}  # items; the paper draws the first two


def add_table9(results: Results, source: str, attribute: str, classification: Classification) -> None:
    """Add how well an attribute of sessions is told from one of SOURCES (Table 9), and its confusions (Fig. 6)."""
    where = {"method": "CalM", "variant": source}
    overall, accuracy = {**where, "session": "all", "n": classification.count}, classification.draws["accuracy"]
    numbers = {
        f"accuracy {attribute}": accuracy[0],
        f"balanced accuracy {attribute}": classification.draws["balanced accuracy"][0],
        f"largest class {attribute}": classification.predictions["true"].value_counts(normalize=True).max(),
        f"accuracy {attribute}, shuffled labels": accuracy[1:].mean(),
    }
    for metric, value in numbers.items():
        results.add(metric, value, item="table9", **overall)
    results.add_each(f"accuracy {attribute}", accuracy, item="table9_shuffles", draw=accuracy.index, **overall)
    counts = classification.predictions.value_counts(["session", "true", "predicted"], sort=False).reset_index()
    pairs = {name: counts[name] for name in ("session", "true", "predicted")}
    results.add_each(f"count {attribute}", counts["count"], item="table9_predictions", **where, **pairs)
    if source == SESSION:
        add_confusion(results, CONFUSIONS[attribute], classification.predictions, where)


def add_confusion(results: Results, item: str, predictions: pd.DataFrame, where: dict[str, str]) -> None:
    """Add how many of each true class were taken for each class, classes that nothing is taken for included."""
    for true, taken in predictions.groupby("true")["predicted"]:
        counts = taken.value_counts().reindex(sorted(predictions["true"].unique()), fill_value=0)
        where = {**where, "session": "all", "true": true, "n": len(taken)}
        results.add_each("count", counts, item=item, predicted=counts.index, **where)


# --- Trials, by the features of heads


def classify_trials(
    features: Float[np.ndarray, "trial channel"],
    classes: Bool[np.ndarray, " trial"],
    splits: Sequence[str],
    *,
    draws: int = 99,
    seed: int = 0,
) -> Classification:
    """Tell two kinds of test trials from features, by a regression that weighs both kinds alike.

    The scores are `balanced accuracy` (chance is 0.5) and `auc`, the area under the ROC curve, on the test trials.
    Features are standardised on the training trials; the penalty has the least log loss on the validation trials.

    Args:
        features: of each trial, as means over its frames.
        classes: of each trial, as hit and not miss.
        splits: train, val or test for each trial; others take no part.
        draws: shuffles of the classes within each split, after which all is fitted anew.
        seed: of the shuffles.

    Raises:
        CalmError: the training or the test trials are all of one kind, or there are no validation trials.
    """
    trials = {split: np.flatnonzero(np.array(splits) == split) for split in SPLITS}
    if any(len(set(classes[trials[split]])) < 2 for split in ("train", "test")) or not len(trials["val"]):
        raise CalmError(
            "Training and test trials must be of both kinds, and there must be validation trials: choose another"
            " column, session or `seed`."
        )
    inputs, rng = compress(features, trials["train"]), np.random.default_rng(seed)
    predictions, mixed = [predict_test(inputs, classes, trials)], classes.copy()
    for _ in range(draws):
        for members in trials.values():
            # Were test classes kept, one that rules the features would be told or mistold by whatever is fitted.
            mixed[members] = rng.permutation(classes[members])
        predictions.append(predict_test(inputs, mixed, trials))
    scores = [
        {"balanced accuracy": accuracies(each)["balanced accuracy"], "auc": roc_auc_score(each["true"], each["score"])}
        for each in predictions
    ]
    return Classification(predictions[0], pd.DataFrame(scores))


def compress(
    features: Float[np.ndarray, "trial channel"], train: Int[np.ndarray, " train"]
) -> Float[np.ndarray, "trial component"]:
    """Standardised features in the space that the training trials span.

    Nothing is lost: a penalised regression has no weight outside of it, and does not change with the axes.
    """
    return make_pipeline(StandardScaler(), PCA()).fit(features[train]).transform(features)


def predict_test(
    inputs: Float[np.ndarray, "trial component"],
    classes: Bool[np.ndarray, " trial"],
    trials: Mapping[str, Int[np.ndarray, " _member"]],
) -> pd.DataFrame:
    """What the classifier that does best on the validation trials takes the test trials for, and how surely (`score`).

    Both kinds of trials weigh the same, however many they are, in the regression and in the log loss.
    """
    (train, val, test), models, losses = (trials[split] for split in SPLITS), [], []
    weights, sign = compute_sample_weight("balanced", classes[val]), np.where(classes[val], -1, 1)
    for inverse in INVERSE_PENALTIES:
        # Newton's steps: there are as few components as training trials, and they take half the time of the default.
        model = LogisticRegression(C=inverse, class_weight="balanced", solver="newton-cholesky")
        models.append(model.fit(inputs[train], classes[train]))
        losses.append(np.average(np.logaddexp(0, sign * model.decision_function(inputs[val])), weights=weights))
    best = models[np.argmin(losses)]
    columns = {"predicted": best.predict(inputs[test]), "score": best.decision_function(inputs[test])}
    return pd.DataFrame({"true": classes[test], **columns})


def add_kinds(
    results: Results, item: str, session: str, method: str, column: str, classification: Classification
) -> None:
    """Add how well the kinds of trials of a column are told from the features of a method, beside shuffled kinds."""
    where = {"item": item, "n": classification.count, "split": "test", "session": session, "method": method}
    for metric, draws in classification.draws.items():
        results.add(f"{metric} {column}", draws[0], **where)
        results.add(f"{metric} {column}", draws[1:].mean(), variant="shuffled labels", **where)
        results.add(f"p of {metric} {column}", permutation_p(draws.to_numpy()), **where)


def two_kinds(values: pd.Series, kinds: Sequence[str]) -> tuple[Bool[np.ndarray, " trial"], Bool[np.ndarray, " trial"]]:
    """Trials of the first of two kinds, and which trials are of either; none named takes all of a two-valued column.

    Raises:
        CalmError: there are not two.
    """
    known = [str(value) for value in pd.unique(values.dropna())]
    chosen = list(kinds) or sorted(known, reverse=True)
    if len(chosen) != 2 or not set(chosen) <= set(known):
        raise CalmError(
            f"Trials are told apart in two kinds, but `{values.name}` has {', '.join(known)}: name two of them."
        )
    return (values.astype(str) == chosen[0]).to_numpy(), values.astype(str).isin(chosen).to_numpy()


def trial_means(features: Sequence[Float[np.ndarray, "_token neuron channel"]]) -> Float[np.ndarray, "trial column"]:
    """Mean over the tokens of each trial, a column for each channel of each neuron."""
    return np.stack([each.astype(np.float64).mean(axis=0).ravel() for each in features])
