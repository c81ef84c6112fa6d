"""From forecasts to rows of the results table: scores per session and per trial, fading; and what any method cost."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.config import ForecastConfig
from calm.data.session import Session, cut_trials
from calm.metrics import correlation_over_time, trial_correlation, trial_mse
from calm.paper.experiments.evaluation import Cost, Label
from calm.paper.results import TRY, LagRow, Row, TrialRow, table
from calm.training.stages import Search


def labelled(found: Mapping[str | Label, Any]) -> list[tuple[Label, Any]]:
    """Entries by method and variant, where those of a method without variants may be under its name alone."""
    return [((key, "") if isinstance(key, str) else key, value) for key, value in found.items()]


class Scores:
    """Collects the rows of a figure: means per session, every trial for paired tests, and costs.

    Attributes:
        use: metric of what a trained method takes for a trial.
        tried: metric of what a try of a search scored on validation trials.
        sign: of that metric in the score of a training, where higher is better.
        rows: a session, method and metric each.
        trial_rows: a trial, method and metric each.
        cost_rows: what a method took on a session.
    """

    use: ClassVar[str]
    tried: ClassVar[str]
    sign: ClassVar[int] = 1

    def __init__(self, item: str, dataset: str, seed: int):
        self.item, self.dataset, self.seed = item, dataset, seed
        self.rows: list[Row] = []
        self.trial_rows: list[TrialRow] = []
        self.cost_rows: list[Row] = []

    def shared(self, session: Session, split: str, method: str, variant: str) -> dict[str, str | int]:
        """What all rows of a method on a session have in common."""
        return {
            **{"dataset": self.dataset, "split": split, "session": session.name},
            **{"method": method, "variant": variant, "seed": self.seed},
        }

    def add_costs(
        self, session: Session, trials: int, costs: Mapping[str | Label, Cost], seconds: Mapping[Label, float]
    ) -> None:
        """What the methods took: to train on this session, and to use on each of so many of its test trials."""
        for (method, variant), cost in labelled(costs):
            shared = {"item": f"{self.item}_cost", "n": 1, **self.shared(session, "train", method, variant)}
            found = {"parameters": cost.parameters, "training (s)": cost.seconds, "search (s)": cost.search}
            self.cost_rows += [Row(metric=metric, value=float(value), **shared) for metric, value in found.items()]
        for (method, variant), value in seconds.items():
            shared = {"item": f"{self.item}_cost", "n": trials, **self.shared(session, "test", method, variant)}
            self.cost_rows.append(Row(metric=self.use, value=1000 * value, **shared))

    def add_tries(self, session: Session, searches: Mapping[str | Label, Search]) -> None:
        """What each try of a search scored on validation trials."""
        for (method, variant), found in labelled(searches):
            for rate, tried in found.tries.items():
                name = ", ".join(filter(None, (variant, f"learning rate {rate:.2g}")))
                shared = {"item": f"{self.item}_cost", "n": 1, **self.shared(session, "val", method, name)}
                self.cost_rows.append(Row(metric=self.tried, value=self.sign * tried.score, **shared))

    def table(self) -> pd.DataFrame:
        """A row a session, method and metric."""
        return table(self.rows)

    def trial_table(self) -> pd.DataFrame:
        """A row a trial, method and metric."""
        return table(self.trial_rows)

    def cost_table(self) -> pd.DataFrame:
        """A row a session, method and kind of cost."""
        return table(self.cost_rows)


class ForecastScores(Scores):
    """Rows of a forecasting figure.

    Attributes:
        trial_rows: correlation of a trial and method each.
        lag_rows: correlation at a time since the end of the context, of a session and method each.
    """

    use, tried = "forecast of a trial (ms)", TRY

    def __init__(self, item: str, dataset: str, seed: int, config: ForecastConfig):
        super().__init__(item, dataset, seed)
        self.config = config
        self.lag_rows: list[LagRow] = []

    def add(
        self,
        session: Session,
        trials: Int[np.ndarray, " part"],
        forecasts: Mapping[Label, Sequence[Float[np.ndarray, "neuron _horizon"]]],
        group: str = "",
    ) -> None:
        """Score forecasts of the frames after the context on trials of one split.

        `group`, held-in or held-out, is put behind the variant.
        """
        _, futures = cut_trials(session, trials, self.config.context, self.config.horizon)
        split = session.trials["split"].iloc[trials[0]]
        for (method, variant), predicted in forecasts.items():
            shared = self.shared(session, split, method, ", ".join(filter(None, (variant, group))))
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
            self.lag_rows += [
                LagRow(
                    **{"item": f"{self.item}_fading", "metric": "corr over trials", "value": float(value)},
                    **{"n": len(trials), "seconds": (lag + 1) / session.rate, **shared},
                )
                for lag, value in enumerate(correlation_over_time(futures, predicted))
            ]

    def fading_table(self) -> pd.DataFrame:
        """A row a session, method and time since the end of the context."""
        return table(self.lag_rows)
