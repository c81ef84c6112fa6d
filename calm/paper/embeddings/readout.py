"""What can be read out of neuron embeddings by ridge regression: d', and what synthetic neurons are really made of."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.linear_model import RidgeCV

from calm.paper.embeddings.analysis import Embedded, Tuning, fold_correlation
from calm.paper.embeddings.shuffles import shuffle_within

PENALTIES = np.logspace(-1, 4, 11)
TRUTH = (
    "cue",
    "choice",
    "position",
    "place",
    "speed",
    "baseline",
    "amplitude",
)  # `calm.synthetic.population.draw_neurons`


def read_out_targets(neurons: pd.DataFrame, variables: Sequence[str], truth: pd.DataFrame | None) -> pd.DataFrame:
    """What to look for in embeddings: d' of each variable and the TRUTH, for neurons with known d'.

    Args:
        neurons: `calm.paper.embeddings.tuning.tuning_table`; the index of the targets is the number of the row.
        variables: its columns with d'.
        truth: of the same neurons.
    """
    targets = neurons[list(variables)].reset_index(drop=True).add_prefix("d' of ")
    if truth is not None:
        targets = targets.join(truth[list(TRUTH)].reset_index(drop=True).add_prefix("true "))
    return targets[np.isfinite(neurons[list(variables)].to_numpy()).all(axis=1)]


def read_out(embedded: Embedded, targets: Tuning) -> Float[np.ndarray, " variable"]:
    """Correlation of each target with its prediction for left-out neurons, mean over folds.

    Unlike the axes of a discriminant analysis, a read-out may use all components, and all neurons are given.
    """
    predicted = np.empty(targets.shape)
    for train, out, features in embedded.folds:
        model = RidgeCV(PENALTIES, alpha_per_target=True).fit(features[train], targets[train])
        predicted[out] = model.predict(features[out]).reshape(len(out), -1)
    return fold_correlation(embedded, predicted, targets)


def shuffled_read_outs(
    embedded: Embedded, targets: Tuning, *, draws: int, seed: int
) -> Float[np.ndarray, "draw variable"]:
    """The read-out of the targets as they are, draw 0, and shuffled among the neurons of each session."""
    rng = np.random.default_rng(seed)
    orders = [np.arange(len(targets)), *(shuffle_within(embedded.sessions, rng) for _ in range(draws))]
    return np.array([read_out(embedded, targets[order]) for order in orders])


def tuning_read_outs(
    embeddings: Float[np.ndarray, "neuron channel"],
    neurons: pd.DataFrame,
    variables: Sequence[str],
    truth: pd.DataFrame | None,
    *,
    draws: int,
    seed: int,
) -> tuple[pd.DataFrame, Float[np.ndarray, "draw variable"]]:
    """`read_out_targets` of some neurons, and `shuffled_read_outs` of them.

    Raises:
        CalmError: see `calm.paper.embeddings.analysis.Embedded.prepare`.
    """
    targets = read_out_targets(neurons, variables, truth)
    groups = pd.factorize(neurons["session"])[0][targets.index]
    embedded = Embedded.prepare(embeddings[targets.index], groups, seed)
    return targets, shuffled_read_outs(embedded, targets.to_numpy(), draws=draws, seed=seed)
