"""Two kinds of trials told apart by what is known of each trial: logistic regression, and its shuffled control."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from calm.data.session import SPLITS
from calm.errors import CalmError

INVERSE_PENALTIES = tuple(10.0**power for power in range(-4, 2))  # scikit-learn's C


@dataclasses.dataclass(frozen=True, eq=False)
class Classified:
    """How well a label of trials is told, and how well shuffled labels are.

    Attributes:
        scores: `balanced accuracy` (chance is 0.5) and `auc`, the area under the ROC curve, on the test trials.
        shuffled: the same for each shuffling of the labels.
        trials: number of test trials.
    """

    scores: dict[str, float]
    shuffled: dict[str, Float[np.ndarray, " permutation"]]
    trials: int

    def p(self, metric: str) -> float:
        """Share of shufflings that score as high, the true labels counted as one."""
        return float(1 + (self.shuffled[metric] >= self.scores[metric]).sum()) / (1 + len(self.shuffled[metric]))


def classify_trials(
    features: Float[np.ndarray, "trial channel"],
    labels: Bool[np.ndarray, " trial"],
    splits: Sequence[str],
    *,
    permutations: int = 99,
    seed: int = 0,
) -> Classified:
    """Tell a label of test trials from features, by logistic regression that weighs both kinds of trials alike.

    Features are standardised on the training trials; the penalty has the least log loss on the validation trials.

    Args:
        features: of each trial, as means over its frames.
        labels: of each trial, as hit and not miss.
        splits: train, val or test for each trial; others take no part.
        permutations: of the control, in which labels are shuffled within each split and all is fitted anew.
        seed: of the control.

    Raises:
        CalmError: the training or the test trials are all of one kind, or there are no validation trials.
    """
    parts = {split: np.flatnonzero(np.array(splits) == split) for split in SPLITS}
    check_kinds(labels, parts)
    inputs, rng = compress(features, parts["train"]), np.random.default_rng(seed)
    scores, shuffled = score(inputs, labels, parts), []
    for _ in range(permutations):
        mixed = labels.copy()
        for part in parts.values():
            # Were test labels kept, a label that rules the features would be told or mistold by whatever is fitted.
            mixed[part] = rng.permutation(labels[part])
        shuffled.append(score(inputs, mixed, parts))
    control = {metric: np.array([each[metric] for each in shuffled]) for metric in scores}
    return Classified(scores, control, len(parts["test"]))


def two_kinds(values: pd.Series, kinds: Sequence[str]) -> tuple[Bool[np.ndarray, " trial"], Bool[np.ndarray, " trial"]]:
    """Trials of the first of two kinds, and which trials are of either; none named takes all of a two-valued column.

    Raises:
        CalmError: there are not two.
    """
    found = [str(value) for value in pd.unique(values.dropna())]
    chosen = list(kinds) or sorted(found, reverse=True)
    if len(chosen) != 2 or not set(chosen) <= set(found):
        raise CalmError(
            f"Trials are told apart in two kinds, but `{values.name}` has {', '.join(found)}: name two of them."
        )
    return (values.astype(str) == chosen[0]).to_numpy(), values.astype(str).isin(chosen).to_numpy()


def trial_means(features: Sequence[Float[np.ndarray, "_token neuron channel"]]) -> Float[np.ndarray, "trial column"]:
    """Mean over the tokens of each trial, a column for each channel of each neuron."""
    return np.stack([each.astype(np.float64).mean(axis=0).ravel() for each in features])


def check_kinds(labels: Bool[np.ndarray, " trial"], parts: Mapping[str, Int[np.ndarray, " _part"]]) -> None:
    """Refuse trials that no classifier can be trained on or tested with; see `classify_trials`."""
    for split in ("train", "test"):
        if len(set(labels[parts[split]])) < 2:
            raise CalmError(f"The {split} trials are all of one kind: choose another label, session or `seed`.")
    if not len(parts["val"]):
        raise CalmError("There are no validation trials to choose the penalty on: use the split of `prepare`.")


def compress(
    features: Float[np.ndarray, "trial channel"], train: Int[np.ndarray, " part"]
) -> Float[np.ndarray, "trial component"]:
    """Standardised features in the space that the training trials span.

    Nothing is lost: a penalised regression has no weight outside of it, and does not change with the axes.
    """
    return make_pipeline(StandardScaler(), PCA()).fit(features[train]).transform(features)


def score(
    inputs: Float[np.ndarray, "trial component"],
    labels: Bool[np.ndarray, " trial"],
    parts: Mapping[str, Int[np.ndarray, " _part"]],
) -> dict[str, float]:
    """Balanced accuracy and AUC on the test trials of the classifier that does best on the validation trials."""
    models = [fit_classifier(inputs[parts["train"]], labels[parts["train"]], inverse) for inverse in INVERSE_PENALTIES]
    chosen = min(models, key=lambda model: balanced_loss(model, inputs[parts["val"]], labels[parts["val"]]))
    test, true = inputs[parts["test"]], labels[parts["test"]]
    return {
        "balanced accuracy": float(balanced_accuracy_score(true, chosen.predict(test))),
        "auc": float(roc_auc_score(true, chosen.decision_function(test))),
    }


def fit_classifier(
    inputs: Float[np.ndarray, "part component"], labels: Bool[np.ndarray, " part"], inverse: float
) -> LogisticRegression:
    """Logistic regression in which both kinds of trials weigh the same, however many they are."""
    return LogisticRegression(C=inverse, class_weight="balanced", max_iter=1000).fit(inputs, labels)


def balanced_loss(
    model: LogisticRegression, inputs: Float[np.ndarray, "part component"], labels: Bool[np.ndarray, " part"]
) -> float:
    """Log loss in which both kinds of trials weigh the same."""
    weights = compute_sample_weight("balanced", labels)
    return float(log_loss(labels, model.predict_proba(inputs), sample_weight=weights, labels=[False, True]))
