"""What the embeddings of a group of sessions say about tuning to two variables, as results (Fig. 5A, 5B, 7, 8)."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike

from calm.baselines.patches import ContinuousPatches
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.transformer import DualAxisTransformer
from calm.paper.embeddings.gradients import (
    ANGLE,
    IN_SAMPLE,
    LEFT_OUT,
    Gradients,
    NeuronFeatures,
    PlaneFinder,
    bootstrap_angles,
    discriminant_plane,
    principal_plane,
    shuffle_tuning,
)
from calm.paper.embeddings.read_out import shuffled_read_outs
from calm.paper.embeddings.tuning import TRUE, is_tuned
from calm.paper.results import Results

SHOWN = 2000  # neurons of a scatter plot, at most; drawn at random
RESAMPLINGS = 200  # for the interval of an angle
COORDINATES = ("first coordinate", "second coordinate")  # in the plane
EACH_SESSION = f"{LEFT_OUT}, each session"
TUNING_CORR, READ_OUT_CORR = "corr with tuning", "corr of ridge read-out"
WHERE = {"split": "all", "method": "CalM"}  # of all these results
ALL = {**WHERE, "session": "all"}


class Items(NamedTuple):
    """Names of the figures of one group of sessions."""

    principal: str
    discriminant: str
    shuffles: tuple[str, str]  # of the first and the second variable
    read_out: str


ITEMS = {
    "held-in": Items("fig5a", "fig5b", ("fig7a", "fig7b"), "fig5_read_out"),
    "held-out": Items("fig8a", "fig8b", ("fig8c", "fig8c"), "fig8_read_out"),
}


def neuron_embeddings(
    transformer: DualAxisTransformer | ContinuousPatches, sessions: Sequence[Session]
) -> Float[np.ndarray, "neuron channel"]:
    """The embeddings of all neurons of some sessions, one session after the other."""
    rows = [transformer.neuron_embeddings[transformer.index[session.name]] for session in sessions]
    return torch.cat(rows).detach().float().cpu().numpy()


def session_embeddings(
    transformer: DualAxisTransformer, sessions: Sequence[Session]
) -> Float[np.ndarray, "session channel"]:
    """The embedding of each session."""
    rows = [transformer.session_embeddings[transformer.index[session.name]] for session in sessions]
    return torch.stack(rows).detach().float().cpu().numpy()


@dataclasses.dataclass(frozen=True, eq=False)
class TuningStudy:
    """The analyses of the neurons of one group of sessions, each of which adds its rows to the results.

    Attributes:
        results: to add to.
        group: held-in or held-out.
        embeddings: of all neurons of the group.
        neurons: `calm.paper.embeddings.tuning.tuning_table` of them.
        variables: its two columns with d'.
        draws: shuffles of the tuning.
        refits: shuffles for the read-outs, each of which is fitted anew.
    """

    results: Results
    group: str
    embeddings: Float[np.ndarray, "neuron channel"]
    neurons: pd.DataFrame
    variables: list[str]
    draws: int
    refits: int

    def run(self) -> list[str]:
        """All analyses; returns why some could not be done."""
        analyses: list[Callable[[], None]] = [functools.partial(self.add_principal, name) for name in self.variables]
        reasons = []
        for analysis in [*analyses, self.add_discriminant, self.add_read_outs]:
            try:
                analysis()
            except CalmError as reason:
                reasons.append(str(reason))
        return list(dict.fromkeys(reasons))

    def tuned(self, variables: list[str]) -> pd.DataFrame:
        """The neurons that are tuned to a variable; the index tells which of the embeddings are theirs."""
        return self.neurons[is_tuned(self.neurons[variables].to_numpy())]

    def add_principal(self, variable: str) -> None:
        """PCA of the neurons that are tuned to a variable: do preferences separate (Fig. 5A, 8A)?"""
        tuned, item = self.tuned([variable]), ITEMS[self.group].principal
        preferred = np.sign(tuned[[variable]])
        self.add_plane(item, tuned, preferred, principal_plane, [f"{item}_null"], variant=variable)

    def add_discriminant(self) -> None:
        """LDA of the neurons tuned to either variable, the axis of each, angle and shuffles (Fig. 5B, 7, 8B, 8C)."""
        items, names, tuned = ITEMS[self.group], self.variables, self.tuned(self.variables)
        item, where = items.discriminant, {**ALL, "item": items.discriminant, "n": len(tuned)}
        gradients, angles = self.add_plane(item, tuned, tuned[names], discriminant_plane, items.shuffles)
        truth = tuned.filter([f"{TRUE}{name}" for name in names])
        if len(truth.columns):
            truth = truth.set_axis(names, axis=1)
            agreement = tuned[names].corrwith(truth)
            self.results.add_each("corr of d' with true tuning", agreement, variant=names, **where)
            self.add_correlations("corr with true tuning", item, tuned, gradients, truth)
        self.results.add("corr of d' of the two", np.corrcoef(tuned[names].T)[0, 1], **where)
        self.results.add(ANGLE, angles[0], **where)
        self.add_angles(f"{item}_angles", gradients, angles)

    def add_read_outs(self) -> None:
        """What can be read out of the embeddings of all neurons: d', and where it is known the truth."""
        case = (self.embeddings, self.neurons, self.variables)
        read_outs, count = shuffled_read_outs(*case, draws=self.refits, seed=self.results.seed)
        for name, values in read_outs.items():
            add_draws(self.results, ITEMS[self.group].read_out, READ_OUT_CORR, str(name), values, count)

    def add_plane(
        self,
        item: str,
        neurons: pd.DataFrame,
        tuning: pd.DataFrame,
        find_plane: PlaneFinder,
        shuffle_items: Sequence[str],
        variant: str = "",
    ) -> tuple[Gradients, Float[np.ndarray, " draw"]]:
        """Axes of the tuning of some neurons, and with shuffled tuning; returns the former, and the angles of all.

        Raises:
            CalmError: see `NeuronFeatures.prepare` and `Gradients.fit`.
        """
        seed, values = self.results.seed, tuning.to_numpy()
        sessions = pd.factorize(neurons["session"])[0]
        features = NeuronFeatures.prepare(self.embeddings[neurons.index], sessions, seed)
        gradients = Gradients.fit(features, values, find_plane)
        self.add_correlations(TUNING_CORR, item, neurons, gradients, tuning)
        self.add_neurons(f"{item}_neurons", neurons, gradients, list(tuning), variant)
        shuffles = shuffle_tuning(features, values, find_plane, draws=self.draws, seed=seed)
        for column, (shuffle_item, name) in enumerate(zip(shuffle_items, tuning, strict=True)):
            for kind in (IN_SAMPLE, LEFT_OUT):
                draws = shuffles[kind][:, column]
                add_draws(self.results, shuffle_item, TUNING_CORR, f"{name}, {kind}", draws, len(neurons))
        return gradients, shuffles[ANGLE]

    def add_correlations(
        self, metric: str, item: str, neurons: pd.DataFrame, gradients: Gradients, target: pd.DataFrame
    ) -> None:
        """Correlations along the axes with a target: in-sample, of left-out neurons, and of those by session."""
        for kind, values in gradients.correlations(target.to_numpy()).items():
            variants = [f"{name}, {kind}" for name in target]
            self.results.add_each(metric, values, item=item, n=len(neurons), variant=variants, **ALL)
        sizes, variants = neurons.groupby("session", sort=False).size(), [f"{name}, {EACH_SESSION}" for name in target]
        for number, values in gradients.session_correlations(target.to_numpy()).items():
            where = {**WHERE, "session": sizes.index[number], "n": sizes.iloc[number]}
            self.results.add_each(metric, values, item=item, variant=variants, **where)

    def add_neurons(
        self, item: str, neurons: pd.DataFrame, gradients: Gradients, variables: Sequence[str], variant: str
    ) -> None:
        """Coordinates and d' of SHOWN neurons at most, for scatter plots."""
        chosen = np.random.default_rng(self.results.seed).permutation(len(neurons))[:SHOWN]
        shown = neurons.assign(**dict(zip(COORDINATES, gradients.coordinates.T, strict=True))).iloc[chosen]
        where = {**WHERE, "session": shown["session"], "variant": variant, "neuron": shown["neuron"]}
        for metric in (*COORDINATES, *variables):
            self.results.add_each(metric, shown[metric], item=item, **where)

    def add_angles(self, item: str, gradients: Gradients, shuffled: Float[np.ndarray, " draw"]) -> None:
        """The angle as observed, with shuffled tuning, and of resampled neurons; and the axes as observed."""
        case, count = (gradients.features, gradients.tuning, discriminant_plane), len(gradients.tuning)
        resampled = np.append(shuffled[0], bootstrap_angles(*case, draws=RESAMPLINGS, seed=self.results.seed))
        for variant, angles in {"shuffled labels": shuffled, "resampled neurons": resampled}.items():
            add_draws(self.results, item, ANGLE, variant, angles, count)
        for name, axis in zip(self.variables, gradients.axes.T, strict=True):
            where = {**ALL, "n": count, "variant": list(COORDINATES), "draw": 0}
            self.results.add_each(f"axis of {name}", axis, item=item, **where)


def add_draws(results: Results, item: str, metric: str, variant: str, values: ArrayLike, count: int) -> None:
    """A statistic as observed, draw 0, and in each shuffle or resampling."""
    draws = np.asarray(values)
    results.add_each(metric, draws, item=item, n=count, variant=variant, draw=range(len(draws)), **ALL)
