"""Classes told apart by logistic regression, and with shuffled classes: of sessions, neurons and trials (Fig. 6)."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
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
Scores = dict[str, float]  # by metric


@dataclasses.dataclass(frozen=True, eq=False)
class Classification:
    """How well classes can be told.

    Attributes:
        predictions: a row for each that was classified: its class (`true`) and what it was taken for (`predicted`).
        draws: scores by metric, as observed, draw 0, and with shuffled classes.
        note: what a reader should know about how it was done.
    """

    predictions: pd.DataFrame
    draws: dict[str, Float[np.ndarray, " draw"]]
    note: str = ""

    @property
    def count(self) -> int:
        """How many were classified."""
        return len(self.predictions)

    @property
    def majority(self) -> float:
        """Share of the largest class, what a guess without looking reaches."""
        return float(self.predictions["true"].value_counts(normalize=True).max())

    @property
    def confusion(self) -> pd.DataFrame:
        """How many of each true class (rows) were taken for each class (columns)."""
        table = pd.crosstab(self.predictions["true"], self.predictions["predicted"])
        return table.reindex(columns=table.index, fill_value=0)


def draws_of(scores: Iterable[Scores]) -> dict[str, Float[np.ndarray, " draw"]]:
    """Scores of several draws, by metric."""
    return {str(metric): values.to_numpy(float) for metric, values in pd.DataFrame(list(scores)).items()}


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
    if (members > 1).sum() < 2:
        few = (members > 1).sum()
        raise CalmError(f"{few} classes with two members or more are too few to classify: use more sessions.")
    rows = np.flatnonzero(table["true"].map(members) > 1)
    table, features = table.iloc[rows].reset_index(drop=True), embeddings[rows].astype(float)
    predictions, folds = predict_left_out(features, table, seed)
    alone = ", ".join(members.index[members == 1])
    note = f"{folds} folds" + (f", left out with a single member: {alone}" if alone else "")
    shuffled = [predict_left_out(features, each, seed)[0] for each in shuffled_classes(table, draws, seed)]
    return Classification(predictions, draws_of(map(accuracies, [predictions, *shuffled])), note)


def predict_left_out(
    features: Float[np.ndarray, "row channel"], table: pd.DataFrame, seed: int
) -> tuple[pd.DataFrame, int]:
    """The class predicted for each row by a model of other units (column `unit`), and the number of folds."""
    units = table.drop_duplicates("unit")
    folds = StratifiedKFold(max(2, min(FOLDS, units["true"].value_counts().min())), shuffle=True, random_state=seed)
    inside = [table["unit"].isin(units["unit"].iloc[out]) for _, out in folds.split(units, units["true"])]
    splits = [(np.flatnonzero(~out), np.flatnonzero(out)) for out in inside]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
    return table.assign(predicted=cross_val_predict(model, features, table["true"].to_numpy(), cv=splits)), len(splits)


def shuffled_classes(table: pd.DataFrame, draws: int, seed: int) -> Iterable[pd.DataFrame]:
    """The table with the classes dealt out anew among the sessions."""
    rng = np.random.default_rng(seed)
    classes = table.drop_duplicates("session").set_index("session")["true"]
    for _ in range(draws):
        dealt = pd.Series(rng.permutation(classes.to_numpy()), index=classes.index)
        yield table.assign(true=table["session"].map(dealt).to_numpy())


def accuracies(predictions: pd.DataFrame) -> Scores:
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


def add_table9(results: Results, source: str, attribute: str, told: Classification) -> None:
    """Add how well an attribute of sessions is told from one of SOURCES (Table 9), and its confusions (Fig. 6)."""
    where = {"method": "CalM", "variant": source}
    overall, accuracy = {**where, "session": "all", "n": told.count}, told.draws["accuracy"]
    results.add(f"accuracy {attribute}", accuracy[0], item="table9", **overall)
    results.add(f"balanced accuracy {attribute}", told.draws["balanced accuracy"][0], item="table9", **overall)
    results.add(f"largest class {attribute}", told.majority, item="table9", **overall)
    results.add(f"accuracy {attribute}, shuffled labels", accuracy[1:].mean(), item="table9", **overall)
    for draw, value in enumerate(accuracy):
        results.add(f"accuracy {attribute}", value, item="table9_shuffles", draw=draw, **overall)
    counts = told.predictions.groupby(["session", "true", "predicted"], sort=False).size()
    for (session, true, predicted), value in counts.items():
        row = {**where, "session": session, "true": true, "predicted": predicted}
        results.add(f"count {attribute}", value, item="table9_predictions", **row)
    if source == SESSION:
        for true, counts in told.confusion.iterrows():
            for predicted, value in counts.items():
                row = {**where, "session": "all", "true": true, "predicted": predicted}
                results.add("count", value, item=CONFUSIONS[attribute], n=counts.sum(), **row)


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
    check_kinds(classes, trials)
    inputs, rng = compress(features, trials["train"]), np.random.default_rng(seed)
    fits, mixed = [classify_test(inputs, classes, trials)], classes.copy()
    for _ in range(draws):
        for members in trials.values():
            # Were test classes kept, one that rules the features would be told or mistold by whatever is fitted.
            mixed[members] = rng.permutation(classes[members])
        fits.append(classify_test(inputs, mixed, trials))
    return Classification(fits[0][0], draws_of(scores for _, scores in fits))


def add_kinds(results: Results, item: str, session: str, method: str, column: str, told: Classification) -> None:
    """Add how well the kinds of trials of a column are told from the features of a method, beside shuffled kinds."""
    where = {"item": item, "n": told.count, "split": "test", "session": session, "method": method}
    for metric, draws in told.draws.items():
        results.add(f"{metric} {column}", draws[0], **where)
        results.add(f"{metric} {column}", draws[1:].mean(), variant="shuffled labels", **where)
        results.add(f"p of {metric} {column}", permutation_p(draws), **where)


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


def check_kinds(classes: Bool[np.ndarray, " trial"], trials: Mapping[str, Int[np.ndarray, " _member"]]) -> None:
    """Refuse trials that no classifier can be trained on or tested with; see `classify_trials`."""
    for split in ("train", "test"):
        if len(set(classes[trials[split]])) < 2:
            raise CalmError(f"The {split} trials are all of one kind: choose another column, session or `seed`.")
    if not len(trials["val"]):
        raise CalmError("There are no validation trials to choose the penalty on: use the split of `prepare`.")


def compress(
    features: Float[np.ndarray, "trial channel"], train: Int[np.ndarray, " train"]
) -> Float[np.ndarray, "trial component"]:
    """Standardised features in the space that the training trials span.

    Nothing is lost: a penalised regression has no weight outside of it, and does not change with the axes.
    """
    return make_pipeline(StandardScaler(), PCA()).fit(features[train]).transform(features)


def classify_test(
    inputs: Float[np.ndarray, "trial component"],
    classes: Bool[np.ndarray, " trial"],
    trials: Mapping[str, Int[np.ndarray, " _member"]],
) -> tuple[pd.DataFrame, Scores]:
    """Predictions and scores of the test trials, of the classifier that does best on the validation trials."""
    (train, val, test) = ((inputs[trials[split]], classes[trials[split]]) for split in ("train", "val", "test"))
    models = [fit_classifier(*train, inverse) for inverse in INVERSE_PENALTIES]
    chosen = min(models, key=lambda model: balanced_loss(model, *val))
    predictions = pd.DataFrame({"true": test[1], "predicted": chosen.predict(test[0])})
    auc = float(roc_auc_score(test[1], chosen.decision_function(test[0])))
    return predictions, {"balanced accuracy": accuracies(predictions)["balanced accuracy"], "auc": auc}


def fit_classifier(
    inputs: Float[np.ndarray, "member component"], classes: Bool[np.ndarray, " member"], inverse: float
) -> LogisticRegression:
    """Logistic regression in which both kinds of trials weigh the same, however many they are."""
    return LogisticRegression(C=inverse, class_weight="balanced", max_iter=1000).fit(inputs, classes)


def balanced_loss(
    model: LogisticRegression, inputs: Float[np.ndarray, "member component"], classes: Bool[np.ndarray, " member"]
) -> float:
    """Log loss in which both kinds of trials weigh the same."""
    weights = compute_sample_weight("balanced", classes)
    return float(log_loss(classes, model.predict_proba(inputs), sample_weight=weights, labels=[False, True]))
