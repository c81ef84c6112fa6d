"""Do forecasts keep the low-dimensional dynamics? Correlation along principal components, as results (Fig. 5C)."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA

from calm.metrics import pearson, standardise, trial_correlation
from calm.paper.experiments.methods import Method
from calm.paper.results import Results

ITEM = "fig5c"
COMPONENT_CORR, NEURON_CORR = "corr of components", "corr of neurons"
COMPONENTS = 20  # authors' code

Traces = Sequence[Float[np.ndarray, "neuron horizon"]]  # of trials, all of one length
Latents = Float[np.ndarray, "trial component horizon"]
Pairs = Float[np.ndarray, "trial trial"]  # what happens in a trial (row) with the forecast for any trial (column)


@dataclasses.dataclass(frozen=True, eq=False)
class ForecastSession:
    """Test trials of a session: what happened after the context, and what each method forecast.

    Attributes:
        name: of the session.
        trials: their numbers.
        futures: z-scored traces after the context.
        forecasts: of them, by method.
    """

    name: str
    trials: Int[np.ndarray, " trial"]
    futures: Traces
    forecasts: Mapping[Method, Traces]

    @cached_property
    def components(self) -> PCA:
        """Principal components of the true traces over all frames; COMPONENTS, or as many as there are.

        They come from the very trials that are forecast, as in the paper: a basis to look in, the same for all methods;
        nothing is fitted to a forecast.
        """
        frames = np.concatenate([future.T for future in self.futures]).astype(float)
        return PCA(min(COMPONENTS, *frames.shape), svd_solver="full").fit(frames)

    def project(self, traces: Traces) -> Latents:
        """Traces of trials, seen along the components."""
        return np.stack([self.components.transform(trace.T.astype(float)).T for trace in traces])

    def correlations(self, method: Method) -> Float[np.ndarray, "trial component"]:
        """Over the frames of each trial along each component.

        The paper does not say whether it takes the frames of all trials together; trial by trial, it can be compared
        with the correlation of single neurons.
        """
        return pearson(self.project(self.futures), self.project(self.forecasts[method]))

    def pairs(self, method: Method) -> Pairs:
        """Mean correlation over the components of what happens in each trial with the forecast for each trial."""
        true, forecast = (standardise(self.project(traces)) for traces in (self.futures, self.forecasts[method]))
        return np.einsum("ipt,jpt->ij", true, forecast, optimize=True) / true.shape[1]

    def by_trial(self, method: Method) -> dict[str, Float[np.ndarray, " trial"]]:
        """Scores of each trial by metric: mean over components, plain and weighted, over neurons, and over others."""
        correlations, weights = self.correlations(method), self.components.explained_variance_ratio_
        return {
            COMPONENT_CORR: correlations.mean(axis=1),
            NEURON_CORR: np.array(list(map(trial_correlation, self.futures, self.forecasts[method]))),
            f"{COMPONENT_CORR}, weighted": correlations @ weights / weights.sum(),
            f"{COMPONENT_CORR}, other trials": others_mean(self.pairs(method)),
        }


def others_mean(pairs: Pairs) -> Float[np.ndarray, " trial"]:
    """For what happens in each trial, mean correlation with the forecasts for all others; NaN if there is no other."""
    others = len(pairs) - 1
    return (pairs.sum(axis=1) - np.diag(pairs)) / others if others else np.full(1, np.nan)


def shuffle_trials(
    pairs: Sequence[Float[np.ndarray, "_trial _trial"]], *, draws: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """Mean over trials, then sessions, of the correlation with the forecast of the same trial: draw 0.

    In each further draw the forecasts of a session are dealt out at random among its trials: what is left is what the
    trials have in common.
    """
    rng = np.random.default_rng(seed)
    values = [np.mean([np.diag(each).mean() for each in pairs])]
    for _ in range(draws):
        values.append(np.mean([each[range(len(each)), rng.permutation(len(each))].mean() for each in pairs]))
    return np.array(values)


def add_dynamics(results: Results, group: str, sessions: Sequence[ForecastSession], *, draws: int) -> None:
    """Scores of the sessions of a group, held-in or held-out, and with shuffled trials over all of them together."""
    where = {"split": "test", "group": group}
    for session in sessions:
        for method in session.forecasts:
            add_method(results, group, session, method)
        shares, count = session.components.explained_variance_ratio_, session.components.n_samples_
        of_session = {**where, "session": session.name, "method": "truth", "n": count}
        numbers = range(1, len(shares) + 1)
        results.add_each("share of variance", shares, item=f"{ITEM}_components", component=numbers, **of_session)
    for method in sessions[0].forecasts:
        pairs = [session.pairs(method) for session in sessions]
        shuffles = shuffle_trials(pairs, draws=draws, seed=results.seed)
        everywhere = {**where, "session": "all", "method": method[0], "variant": method[1], "n": sum(map(len, pairs))}
        results.add_each(COMPONENT_CORR, shuffles, item=f"{ITEM}_shuffles", draw=range(len(shuffles)), **everywhere)


def add_method(results: Results, group: str, session: ForecastSession, method: Method) -> None:
    """Means of a session, every trial for paired tests, and every component, counted from 1."""
    name, variant = method
    where = {"split": "test", "group": group, "session": session.name, "method": name, "variant": variant}
    count = len(session.trials)
    for metric, values in session.by_trial(method).items():
        results.add(metric, values.mean(), item=ITEM, n=count, **where)
        results.add_each(metric, values, item=f"{ITEM}_trials", trial=session.trials, **where)
    means = session.correlations(method).mean(axis=0)
    numbers = range(1, len(means) + 1)
    results.add_each("corr", means, item=f"{ITEM}_components", n=count, component=numbers, **where)
