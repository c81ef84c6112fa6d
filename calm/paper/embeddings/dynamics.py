"""Do forecasts keep the low-dimensional dynamics? Correlation along principal components (Fig. 5C)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from calm.metrics import pearson, standardise, trial_correlation

COMPONENTS = 20  # authors' code

Latents = Float[np.ndarray, "trial component horizon"]


def find_components(futures: Sequence[Float[np.ndarray, "neuron horizon"]]) -> PCA:
    """Principal components of the true traces over all frames of all given trials; COMPONENTS, or as many as there are.

    They come from the very trials that are forecast, as in the paper: a basis to look in, the same for all methods;
    nothing is fitted to a forecast.
    """
    frames = np.concatenate([future.T for future in futures]).astype(float)
    return PCA(min(COMPONENTS, *frames.shape), svd_solver="full").fit(frames)


def project(components: PCA, traces: Sequence[Float[np.ndarray, "neuron horizon"]]) -> Latents:
    """Traces of trials of one length, seen along the components."""
    return np.stack([components.transform(trace.T.astype(float)).T for trace in traces])


def trial_pairs(true: Latents, forecast: Latents) -> Float[np.ndarray, "trial trial"]:
    """Mean correlation over the components of what happens in a trial (row) and is forecast for any trial (column)."""
    first, second = standardise(true), standardise(forecast)
    return np.einsum("ipt,jpt->ij", first, second, optimize=True) / true.shape[1]


def shuffle_trials(
    pairs: Sequence[Float[np.ndarray, "_trial _trial"]], *, draws: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """Mean over trials, then sessions, of the correlation with the forecast of the same trial: draw 0.

    In each further draw the forecasts of a session are dealt out at random among its trials: what is left is what the
    trials have in common.
    """
    rng = np.random.default_rng(seed)
    observed = np.mean([np.diag(own).mean() for own in pairs])
    shuffled = [
        np.mean([own[range(len(own)), rng.permutation(len(own))].mean() for own in pairs]) for _ in range(draws)
    ]
    return np.array([observed, *shuffled])


def others_mean(pairs: Float[np.ndarray, "trial trial"]) -> Float[np.ndarray, " trial"]:
    """For what happens in each trial, mean correlation with the forecasts for all others; NaN if there is no other."""
    others = len(pairs) - 1
    return (pairs.sum(axis=1) - np.diag(pairs)) / others if others else np.full(1, np.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class Dynamics:
    """Forecasts of one method for the trials of one session, beside what happened.

    Attributes:
        components: correlation over the frames of each trial along each component. The paper does not say whether it
            takes the frames of all trials together; trial by trial, it can be compared with that of single neurons.
        neurons: correlation of each trial, mean over single neurons.
        pairs: `trial_pairs`.
    """

    components: Float[np.ndarray, "trial component"]
    neurons: Float[np.ndarray, " trial"]
    pairs: Float[np.ndarray, "trial trial"]


def compare_dynamics(
    components: PCA,
    futures: Sequence[Float[np.ndarray, "neuron horizon"]],
    forecasts: Sequence[Float[np.ndarray, "neuron horizon"]],
) -> Dynamics:
    """Forecasts of trials, all of one length, beside what happened: along components, and neuron by neuron."""
    true, forecast = project(components, futures), project(components, forecasts)
    neurons = [trial_correlation(*pair) for pair in zip(futures, forecasts, strict=True)]
    return Dynamics(pearson(true, forecast), np.array(neurons), trial_pairs(true, forecast))
