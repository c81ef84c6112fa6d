"""Rows of Figure 5C: correlation along principal components, of single neurons, and with shuffled trials."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.decomposition import PCA

from calm.data.session import Session
from calm.paper.embeddings.dynamics import Dynamics, compare_dynamics, find_components, others_mean, shuffle_trials
from calm.paper.embeddings.embedding_rows import ALL, DrawRow
from calm.paper.experiments.evaluation import Forecasts, Label
from calm.paper.results import Row, TrialRow, table

ITEM = "fig5c"
COMPONENT_CORR, NEURON_CORR = "corr of components", "corr of neurons"
WEIGHTED_CORR, OTHERS_CORR = "corr of components, weighted", "corr of components, other trials"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComponentRow(Row):
    """The number of a single principal component, counted from 1, as `fig5c_components`."""

    component: int


class DynamicsScores:
    """Collects the rows; `group` is held-in or held-out, and ends the variant.

    Attributes:
        rows: means of a session and method.
        trial_rows: every trial, for paired tests.
        component_rows: every component: mean over trials of a method's correlation, and its share of the variance.
        draw_rows: the mean over sessions, draw 0, and with shuffled trials.
        pairs: of each session by group and method.
    """

    def __init__(self, dataset: str, *, draws: int, seed: int):
        self.dataset, self.draws, self.seed = dataset, draws, seed
        self.rows: list[Row] = []
        self.trial_rows: list[TrialRow] = []
        self.component_rows: list[ComponentRow] = []
        self.pairs: dict[tuple[str, Label], list[Float[np.ndarray, "trial trial"]]] = {}

    def add(
        self,
        session: Session,
        group: str,
        trials: Int[np.ndarray, " part"],
        futures: list[Float[np.ndarray, "neuron horizon"]],
        forecasts: Mapping[Label, Forecasts],
    ) -> PCA:
        """Score the forecasts of a session's test trials; returns the components."""
        components = find_components(futures)
        for label, predicted in forecasts.items():
            found = compare_dynamics(components, futures, predicted)
            self.pairs.setdefault((group, label), []).append(found.pairs)
            self.add_method(session, group, trials, label, found, components.explained_variance_ratio_)
        self.add_variance(session, group, components)
        return components

    def shared(self, session: str, group: str, label: Label) -> dict[str, str | int]:
        """What all rows of a method on a session have in common."""
        variant = ", ".join(filter(None, (label[1], group)))
        about = {"dataset": self.dataset, "split": "test", "method": label[0], "variant": variant}
        return {**about, "session": session, "seed": self.seed}

    def add_method(
        self,
        session: Session,
        group: str,
        trials: Int[np.ndarray, " part"],
        label: Label,
        found: Dynamics,
        weights: Float[np.ndarray, " component"],
    ) -> None:
        """Means, trials and components of one method; `weights` are the components' shares of the variance."""
        shared = self.shared(session.name, group, label)
        by_trial = {
            COMPONENT_CORR: found.components.mean(axis=1),
            NEURON_CORR: found.neurons,
            WEIGHTED_CORR: found.components @ weights / weights.sum(),
            OTHERS_CORR: others_mean(found.pairs),
        }
        for metric, values in by_trial.items():
            self.rows.append(Row(item=ITEM, metric=metric, value=float(values.mean()), n=len(trials), **shared))
            self.trial_rows += [
                TrialRow(item=f"{ITEM}_trials", metric=metric, value=float(value), n=1, trial=int(trial), **shared)
                for trial, value in zip(trials, values, strict=True)
            ]
        item = f"{ITEM}_components"
        self.component_rows += [
            ComponentRow(item=item, metric="corr", value=float(value), n=len(trials), component=number, **shared)
            for number, value in enumerate(found.components.mean(axis=0), start=1)
        ]

    def add_variance(self, session: Session, group: str, components: PCA) -> None:
        """Share of the true variance along each component."""
        shared = self.shared(session.name, group, ("truth", ""))
        count = {"item": f"{ITEM}_components", "n": components.n_samples_}
        self.component_rows += [
            ComponentRow(metric="share of variance", value=float(value), component=number, **count, **shared)
            for number, value in enumerate(components.explained_variance_ratio_, start=1)
        ]

    def draw_rows(self) -> list[DrawRow]:
        """Shuffles of trials, over all sessions of a group together."""
        rows = []
        for (group, label), pairs in self.pairs.items():
            shared = {"item": f"{ITEM}_shuffles", **self.shared(ALL, group, label), "metric": COMPONENT_CORR}
            values = shuffle_trials(pairs, draws=self.draws, seed=self.seed)
            count = sum(map(len, pairs))
            rows += [DrawRow(value=float(value), draw=draw, n=count, **shared) for draw, value in enumerate(values)]
        return rows

    def tables(self) -> dict[str, pd.DataFrame]:
        """A table for each item."""
        kinds = [table(rows) for rows in (self.rows, self.trial_rows, self.component_rows, self.draw_rows())]
        return {str(item): own for rows in kinds for item, own in rows.groupby("item", sort=False)}
