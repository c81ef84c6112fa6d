"""What ridge regression reads out of neuron embeddings: d', and what synthetic neurons are really made of."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.linear_model import RidgeCV

from calm.errors import CalmError
from calm.paper.embeddings.gradients import NeuronFeatures, Tuning, orders_within
from calm.paper.embeddings.tuning import TRUE

PENALTIES = np.logspace(-1, 4, 11)


def read_out(features: NeuronFeatures, targets: Tuning) -> Float[np.ndarray, " variable"]:
    """Correlation of each target with its prediction for left-out neurons, mean over folds.

    Unlike the axes of a discriminant analysis, a read-out may use all components, and is fitted to all neurons, tuned
    or not.
    """
    predicted = np.empty(targets.shape)
    for train, out, of_fold in features.folds:
        model = RidgeCV(PENALTIES, alpha_per_target=True).fit(of_fold[train], targets[train])
        predicted[out] = model.predict(of_fold[out]).reshape(len(out), -1)
    return features.fold_correlation(predicted, targets)


def shuffled_read_outs(
    embeddings: Float[np.ndarray, "neuron channel"],
    neurons: pd.DataFrame,
    variables: Sequence[str],
    *,
    draws: int,
    seed: int,
) -> tuple[pd.DataFrame, int]:
    """Read-outs of d' and the truth, a column each: as they are, row 0, and shuffled within sessions.

    Args:
        embeddings: of the neurons.
        neurons: `calm.paper.embeddings.tuning.tuning_table` of them; those whose d' is not known take no part.
        variables: columns with d'.
        draws: shuffles.
        seed: of folds and shuffles.

    Returns:
        These, and of how many neurons they are.

    Raises:
        CalmError: nothing is known of the neurons; and see `NeuronFeatures.prepare`.
    """
    known = np.isfinite(neurons[list(variables)].to_numpy()).all(axis=1)
    d_primes = neurons.loc[known, list(variables)].add_prefix("d' of ")
    targets = d_primes.join(neurons.filter(regex=f"^{TRUE}"))
    if targets.empty:
        raise CalmError("Trials have no column with two values: name one under `conditions` in the description.")
    sessions = pd.factorize(neurons["session"])[0][known]
    features, values = NeuronFeatures.prepare(embeddings[known], sessions, seed), targets.to_numpy()
    orders = orders_within(sessions, draws=draws, seed=seed)
    return pd.DataFrame([read_out(features, values[order]) for order in orders], columns=targets.columns), len(targets)
