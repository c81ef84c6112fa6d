"""Can mouse, area or layer be told from embeddings? Logistic regression, cross-validated (Fig. 6, Table 9)."""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from calm.errors import CalmError

FOLDS = 5  # at most: no more than the rarest class has members
MOST_NEURONS = 4000  # classified at most, drawn at random; the refits for shuffled labels take hours with all of them


@dataclasses.dataclass(frozen=True, eq=False)
class Classification:
    """How well a label can be told.

    Attributes:
        classes: in the order of `confusion`.
        confusion: how many of each true class (rows) were taken for each class (columns).
        accuracy: share that was told right.
        balanced: mean of that share over the classes.
        majority: share of the largest class, what a guess without looking reaches.
        shuffled: accuracy with the labels shuffled among the sessions, a value for each shuffle.
        counts: for each session, its class (`true`) and each class that anything in it was taken for (`predicted`), the
            number of rows (`count`).
        folds: of the cross-validation.
        left_out: classes that were left out because they have a single member.
    """

    classes: tuple[str, ...]
    confusion: Int[np.ndarray, "code code"]
    accuracy: float
    balanced: float
    majority: float
    shuffled: Float[np.ndarray, " draw"]
    counts: pd.DataFrame
    folds: int
    left_out: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many were classified."""
        return int(self.confusion.sum())

    @property
    def note(self) -> str:
        """What a reader should know about how it was done."""
        alone = f", left out with a single member: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{self.folds} folds{alone}"


def classify(
    embeddings: Float[np.ndarray, "row channel"],
    labels: pd.Series,
    sessions: pd.Series,
    *,
    whole_sessions: bool,
    draws: int,
    seed: int,
) -> Classification:
    """Predict the label of each embedding with a model of the others.

    A session has one label. Shuffles therefore deal the labels out anew among sessions, not among neurons: neurons of a
    session may be alike for reasons that have nothing to do with it.

    Args:
        embeddings: of neurons or sessions.
        labels: of each, as the mouse.
        sessions: name of the session that each belongs to.
        whole_sessions: leave out whole sessions. Otherwise, as in the paper, single rows: then most neurons of a
            session are trained on, and a classifier may know the session instead of the label.
        draws: number of shuffles.
        seed: of folds and shuffles.

    Raises:
        CalmError: fewer than two classes have two members.
    """
    table = pd.DataFrame({"label": labels.astype(str).to_numpy(), "session": sessions.to_numpy()})
    table["unit"] = table["session"] if whole_sessions else np.arange(len(table))
    kept, alone = sort_classes(table)
    rows = np.flatnonzero(table["label"].isin(kept))
    table, features = table.iloc[rows].reset_index(drop=True), embeddings[rows].astype(float)
    predicted, folds = predict_left_out(features, table, seed)
    counts = table.assign(predicted=predicted).rename(columns={"label": "true"})
    counts = counts.groupby(["session", "true", "predicted"], sort=False).size()
    return Classification(
        classes=kept,
        confusion=confusion_matrix(table["label"], predicted, labels=kept),
        accuracy=float((table["label"] == predicted).mean()),
        balanced=float(balanced_accuracy_score(table["label"], predicted)),
        majority=float(table["label"].value_counts(normalize=True).max()),
        shuffled=shuffled_accuracies(features, table, draws, seed),
        counts=counts.reset_index(name="count"),
        folds=folds,
        left_out=alone,
    )


def sort_classes(table: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Classes with at least two units, which can be told, and those with one.

    Raises:
        CalmError: fewer than two of the former.
    """
    units = table.groupby("label")["unit"].nunique()
    kept, alone = tuple(units.index[units > 1]), tuple(units.index[units == 1])
    if len(kept) < 2:
        raise CalmError(f"{len(kept)} classes with two members or more are too few to classify: use more sessions.")
    return kept, alone


def predict_left_out(
    features: Float[np.ndarray, "row channel"], table: pd.DataFrame, seed: int
) -> tuple[np.ndarray, int]:
    """The label predicted for each row by a model of other units (column `unit`), and the number of folds."""
    units = table.drop_duplicates("unit")
    folds = int(min(FOLDS, units["label"].value_counts().min()))
    split = StratifiedKFold(max(folds, 2), shuffle=True, random_state=seed)
    parts = [units["unit"].iloc[out] for _, out in split.split(units, units["label"])]
    splits = [(np.flatnonzero(~inside), np.flatnonzero(inside)) for inside in (table["unit"].isin(p) for p in parts)]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
    return cross_val_predict(model, features, table["label"].to_numpy(), cv=splits), len(splits)


def shuffled_accuracies(
    features: Float[np.ndarray, "row channel"], table: pd.DataFrame, draws: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """Accuracy with the sessions' labels dealt out anew among them; folds are made anew as well."""
    rng = np.random.default_rng(seed)
    own = table.drop_duplicates("session").set_index("session")["label"]
    accuracies = []
    for _ in range(draws):
        dealt = pd.Series(rng.permutation(own.to_numpy()), index=own.index)
        shuffled = table.assign(label=table["session"].map(dealt).to_numpy())
        predicted, _ = predict_left_out(features, shuffled, seed)
        accuracies.append(np.mean(shuffled["label"].to_numpy() == predicted))
    return np.array(accuracies)


def draw_neurons(count: int, seed: int) -> Int[np.ndarray, " part"]:
    """Numbers of the neurons to classify: all, or MOST_NEURONS of them at random."""
    if count <= MOST_NEURONS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, MOST_NEURONS, replace=False))
