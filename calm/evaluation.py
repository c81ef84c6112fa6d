"""The forecasters of a figure, and the rows of the results table that their forecasts give."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.baselines.linear import Decay, MeanTrial, Persistence, RidgeVAR
from calm.config import Profile
from calm.dat import DualAxisTransformer
from calm.forecasting import CalMForecaster, Choice
from calm.metrics import trial_correlation, trial_mse
from calm.quantizer import NeuralQuantizer
from calm.results import Row, TrialRow, table
from calm.session import Session, cut_trials

Forecasts = list[Float[np.ndarray, "neuron _horizon"]]
Label = tuple[str, str]  # method and variant


def forecast_baselines(session: Session, trials: Int[np.ndarray, " part"], profile: Profile) -> dict[Label, Forecasts]:
    """Forecasts of the naive and linear methods, fitted on this session alone."""
    context = profile.forecast.context
    contexts, futures = cut_trials(session, trials, context)
    horizons = [future.shape[1] for future in futures]
    methods = {
        "persistence": Persistence(),
        "decay": Decay(),
        "mean trial": MeanTrial(),
        "ridge VAR": RidgeVAR(profile.var, context),
    }
    return {(name, ""): method.fit(session).forecast(contexts, horizons) for name, method in methods.items()}


def forecast_calm(
    model: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    session: Session,
    trials: Int[np.ndarray, " part"],
    profile: Profile,
) -> dict[Label, Forecasts]:
    """Forecasts of CalM for each way to go on after a token: likeliest, a sample, mean of many samples, expectation."""
    config = profile.forecast
    contexts, futures = cut_trials(session, trials, config.context)
    horizons = [future.shape[1] for future in futures]
    ways: dict[str, tuple[Choice, int]] = {"greedy": ("greedy", 1), "sample": ("sample", 1)}
    ways |= {f"mean of {config.samples}": ("sample", config.samples), "expected": ("expected", 1)}
    return {
        ("CalM", variant): CalMForecaster(
            model, quantizer, session.name, config, choice=choice, samples=samples
        ).forecast(contexts, horizons)
        for variant, (choice, samples) in ways.items()
    }


class ForecastScores:
    """Collects the rows of a forecasting figure: means per session, and every trial for paired tests."""

    def __init__(self, item: str, dataset: str, seed: int):
        self.item, self.dataset, self.seed = item, dataset, seed
        self.rows: list[Row] = []
        self.trial_rows: list[TrialRow] = []

    def add(
        self,
        session: Session,
        trials: Int[np.ndarray, " part"],
        forecasts: Mapping[Label, Sequence[Float[np.ndarray, "neuron _horizon"]]],
        *,
        context: int,
        group: str = "",
    ) -> None:
        """Score forecasts of the frames after the context on trials of one split.

        `group`, held-in or held-out, is put behind the variant.
        """
        _, futures = cut_trials(session, trials, context)
        split = session.trials["split"].iloc[trials[0]]
        for (method, variant), predicted in forecasts.items():
            shared = {"dataset": self.dataset, "split": split, "session": session.name, "method": method}
            shared |= {"variant": ", ".join(filter(None, (variant, group))), "seed": self.seed}
            pairs = list(zip(futures, predicted, strict=True))
            correlations = [trial_correlation(*pair) for pair in pairs]
            errors = [trial_mse(*pair) for pair in pairs]
            for metric, values in (("corr", correlations), ("mse", errors)):
                value = float(np.mean(values))
                self.rows.append(Row(item=self.item, metric=metric, value=value, n=len(values), **shared))
            self.trial_rows += [
                TrialRow(item=f"{self.item}_trials", metric="corr", value=value, n=1, trial=int(trial), **shared)
                for trial, value in zip(trials, correlations, strict=True)
            ]

    def table(self) -> pd.DataFrame:
        """A row a session, method and metric."""
        return table(self.rows)

    def trial_table(self) -> pd.DataFrame:
        """A row a trial and method: correlation."""
        return table(self.trial_rows)
