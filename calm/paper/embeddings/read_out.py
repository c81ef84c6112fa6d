"""What ridge regression reads out of neuron embeddings: d', and what synthetic neurons are really made of."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.linear_model import RidgeCV

from calm.paper.embeddings.gradients import Embedded, Tuning, fold_correlation, orders_within

PENALTIES = np.logspace(-1, 4, 11)
TRUTH = ("cue", "choice", "position", "place", "speed", "baseline", "amplitude")  # columns of `true_tuning` read out


def read_out(embedded: Embedded, targets: Tuning) -> Float[np.ndarray, " variable"]:
    """Correlation of each target with its prediction for left-out neurons, mean over folds.

    Unlike the axes of a discriminant analysis, a read-out may use all components, and is fitted to all neurons, tuned
    or not.
    """
    predicted = np.empty(targets.shape)
    for train, out, features in embedded.folds:
        model = RidgeCV(PENALTIES, alpha_per_target=True).fit(features[train], targets[train])
        predicted[out] = model.predict(features[out]).reshape(len(out), -1)
    return fold_correlation(embedded, predicted, targets)


def read_out_targets(neurons: pd.DataFrame, variables: Sequence[str], truth: pd.DataFrame | None) -> pd.DataFrame:
    """What to look for in embeddings: d' of each variable and the TRUTH, for neurons with known d'.

    Args:
        neurons: `calm.paper.embeddings.tuning.tuning_table`; the index of the targets is the number of the row.
        variables: its columns with d'.
        truth: of the same neurons, where it is known.
    """
    targets = neurons[list(variables)].reset_index(drop=True).add_prefix("d' of ")
    if truth is not None:
        targets = targets.join(truth[list(TRUTH)].reset_index(drop=True).add_prefix("true "))
    return targets[np.isfinite(neurons[list(variables)].to_numpy()).all(axis=1)]


def shuffled_read_outs(
    embeddings: Float[np.ndarray, "neuron channel"],
    neurons: pd.DataFrame,
    variables: Sequence[str],
    truth: pd.DataFrame | None,
    *,
    draws: int,
    seed: int,
) -> tuple[pd.DataFrame, int]:
    """Read-outs of the `read_out_targets`, a column each: as they are, row 0, and shuffled within sessions.

    Returns these, and of how many neurons they are.

    Raises:
        CalmError: see `Embedded.prepare`.
    """
    targets = read_out_targets(neurons, variables, truth)
    sessions = pd.factorize(neurons["session"])[0][targets.index]
    embedded, values = Embedded.prepare(embeddings[targets.index], sessions, seed), targets.to_numpy()
    orders = orders_within(sessions, draws=draws, seed=seed)
    return pd.DataFrame([read_out(embedded, values[order]) for order in orders], columns=targets.columns), len(targets)
