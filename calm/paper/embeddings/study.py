"""What the embeddings of a group of sessions say about tuning to two variables, as results (Fig. 5A, 5B, 7, 8)."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from torch import nn

from calm.data.session import Session
from calm.errors import CalmError
from calm.models.transformer import DualAxisTransformer
from calm.paper.embeddings.gradients import (
    Embedded,
    GradientDraws,
    Gradients,
    PlaneFinder,
    Tuning,
    bootstrap_angles,
    check_preferences,
    discriminant_plane,
    find_gradients,
    fold_correlation,
    principal_plane,
    session_correlations,
    shuffle_tuning,
    whole_correlation,
)
from calm.paper.embeddings.read_out import shuffled_read_outs
from calm.paper.embeddings.tuning import is_tuned
from calm.paper.results import Results

SHOWN = 2000  # neurons of a scatter plot, at most; drawn at random
RESAMPLINGS = 200  # for the interval of an angle
COORDINATES = ("first coordinate", "second coordinate")  # in the plane
IN_SAMPLE, LEFT_OUT = "in-sample", "left-out neurons"
TUNING_CORR, ANGLE, READ_OUT_CORR = "corr with tuning", "angle (degrees)", "corr of ridge read-out"
WHERE = {"split": "all", "method": "CalM"}  # of all these results
ALL = {**WHERE, "session": "all"}


@dataclasses.dataclass(frozen=True)
class Items:
    """Names of the figures of one group of sessions."""

    principal: str
    discriminant: str
    shuffles: tuple[str, str]  # of the first and the second variable
    read_out: str


ITEMS = {
    "held-in": Items("fig5a", "fig5b", ("fig7a", "fig7b"), "fig5_read_out"),
    "held-out": Items("fig8a", "fig8b", ("fig8c", "fig8c"), "fig8_read_out"),
}


def as_array(parameters: Sequence[nn.Parameter]) -> Float[np.ndarray, "row channel"]:
    """Parameters as one array, a row for each embedding."""
    return np.concatenate([np.atleast_2d(parameter.detach().float().cpu().numpy()) for parameter in parameters])


def neuron_embeddings(
    transformer: DualAxisTransformer, sessions: Sequence[Session]
) -> Float[np.ndarray, "neuron channel"]:
    """The embeddings of all neurons of some sessions, one session after the other."""
    return as_array([transformer.neuron_embeddings[transformer.index[session.name]] for session in sessions])


def session_embeddings(
    transformer: DualAxisTransformer, sessions: Sequence[Session]
) -> Float[np.ndarray, "session channel"]:
    """The embedding of each session."""
    return as_array([transformer.session_embeddings[transformer.index[session.name]] for session in sessions])


@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """Neurons of a group of sessions.

    Attributes:
        embeddings: of each.
        neurons: `calm.paper.embeddings.tuning.tuning_table` of them.
        variables: columns with d', of two variables.
        truth: `calm.paper.embeddings.tuning.true_tuning` of them, where it is known.
    """

    embeddings: Float[np.ndarray, "neuron channel"]
    neurons: pd.DataFrame
    variables: Sequence[str]
    truth: pd.DataFrame | None = None

    def tuning(self, variables: Sequence[str]) -> Tuning:
        """d' of each variable."""
        return self.neurons[list(variables)].to_numpy()

    def only(self, chosen: Bool[np.ndarray, " neuron"]) -> "Population":
        """Some of the neurons."""
        truth = None if self.truth is None else self.truth[chosen]
        return Population(self.embeddings[chosen], self.neurons[chosen], self.variables, truth)


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """A plane through the embeddings of tuned neurons, with the axes of their tuning, and what chance gives."""

    population: Population
    tuning: Tuning
    embedded: Embedded
    gradients: Gradients
    draws: GradientDraws

    @classmethod
    def fit(cls, population: Population, tuning: Tuning, find_plane: PlaneFinder, *, draws: int, seed: int) -> "Plane":
        """Axes as observed and with shuffled tuning.

        Raises:
            CalmError: see `Embedded.prepare` and `check_preferences`.
        """
        embedded = Embedded.prepare(population.embeddings, pd.factorize(population.neurons["session"])[0], seed)
        check_preferences(tuning)
        gradients = find_gradients(embedded, tuning, find_plane)
        shuffled = shuffle_tuning(embedded, tuning, find_plane, draws=draws, seed=seed)
        return cls(population, tuning, embedded, gradients, shuffled)

    @property
    def count(self) -> int:
        """Number of neurons."""
        return len(self.tuning)


def add_tuning(results: Results, group: str, population: Population, *, draws: int, refits: int) -> list[str]:
    """All analyses of a group, held-in or held-out; returns why some could not be done.

    Args:
        results: to add to.
        group: whose ITEMS they are.
        population: all its neurons.
        draws: shuffles of the tuning.
        refits: shuffles for the read-outs, each of which is fitted anew.
    """
    items = ITEMS[group]
    analyses: list[Callable[[], None]] = [
        *(lambda name=name: add_principal(results, items, population, name, draws) for name in population.variables),
        lambda: add_discriminant(results, items, population, draws),
        lambda: add_read_outs(results, items, population, refits),
    ]
    reasons = []
    for analysis in analyses:
        try:
            analysis()
        except CalmError as reason:
            reasons.append(str(reason))
    return list(dict.fromkeys(reasons))


def add_principal(results: Results, items: Items, population: Population, variable: str, draws: int) -> None:
    """PCA of the neurons that are tuned to a variable: do preferences separate (Fig. 5A, 8A)?

    Raises:
        CalmError: see `Plane.fit`.
    """
    tuned, item = population.only(is_tuned(population.tuning([variable]))), items.principal
    preferred = np.sign(tuned.tuning([variable]))
    plane = Plane.fit(tuned, preferred, principal_plane, draws=draws, seed=results.seed)
    add_correlations(results, item, plane, [variable], TUNING_CORR, preferred)
    add_neurons(results, item, plane, [variable], variant=variable)
    add_shuffles(results, [f"{item}_null"], plane, [variable])


def add_discriminant(results: Results, items: Items, population: Population, draws: int) -> None:
    """LDA of the neurons tuned to either variable, the axis of each, angle and shuffles (Fig. 5B, 7, 8B, 8C).

    Raises:
        CalmError: see `Plane.fit`.
    """
    item, names = items.discriminant, population.variables
    tuned = population.only(is_tuned(population.tuning(names)))
    tuning = tuned.tuning(names)
    plane = Plane.fit(tuned, tuning, discriminant_plane, draws=draws, seed=results.seed)
    targets, where = {TUNING_CORR: tuning}, {**ALL, "item": item, "n": plane.count}
    if tuned.truth is not None:
        targets["corr with true tuning"] = truth = tuned.truth[list(names)].to_numpy()
        for name, value in zip(names, whole_correlation(tuning, truth), strict=True):
            results.add("corr of d' with true tuning", value, variant=name, **where)
    for metric, target in targets.items():
        add_correlations(results, item, plane, names, metric, target)
    results.add("corr of d' of the two", np.corrcoef(tuning.T)[0, 1], **where)
    results.add(ANGLE, plane.draws.angle[0], **where)
    add_neurons(results, item, plane, names)
    add_shuffles(results, items.shuffles, plane, names)
    add_angles(results, f"{item}_angles", plane, names)


def add_read_outs(results: Results, items: Items, population: Population, draws: int) -> None:
    """What can be read out of the embeddings of all neurons: d', and where it is known the truth.

    Raises:
        CalmError: see `Embedded.prepare`.
    """
    given = (population.embeddings, population.neurons, population.variables, population.truth)
    read_outs, count = shuffled_read_outs(*given, draws=draws, seed=results.seed)
    for name, values in read_outs.items():
        add_draws(results, items.read_out, READ_OUT_CORR, str(name), values.to_numpy(), count)


def add_correlations(
    results: Results, item: str, plane: Plane, names: Sequence[str], metric: str, target: Tuning
) -> None:
    """Correlations along the axes with a target: in-sample, of left-out neurons, and of those by session."""
    left_out, sessions = plane.gradients.left_out, plane.population.neurons["session"].unique()
    kinds = {
        IN_SAMPLE: whole_correlation(plane.gradients.along, target),
        LEFT_OUT: fold_correlation(plane.embedded, left_out, target),
    }
    for kind, values in kinds.items():
        for name, value in zip(names, values, strict=True):
            results.add(metric, value, item=item, n=plane.count, variant=f"{name}, {kind}", **ALL)
    for code, values in session_correlations(plane.embedded, left_out, target).items():
        where = {**WHERE, "session": str(sessions[code]), "n": (plane.embedded.sessions == code).sum()}
        for name, value in zip(names, values, strict=True):
            results.add(metric, value, item=item, variant=f"{name}, {LEFT_OUT}, each session", **where)


def add_neurons(results: Results, item: str, plane: Plane, names: Sequence[str], variant: str = "") -> None:
    """Coordinates and d' of SHOWN neurons at most, for scatter plots."""
    chosen = np.random.default_rng(results.seed).permutation(plane.count)[:SHOWN]
    shown = plane.population.neurons.iloc[chosen]
    columns = dict(zip(COORDINATES, plane.gradients.coordinates[chosen].T, strict=True))
    for metric, values in {**columns, **{name: shown[name] for name in names}}.items():
        for session, neuron, value in zip(shown["session"], shown["neuron"], values, strict=True):
            where = {**WHERE, "session": session, "variant": variant, "neuron": neuron}
            results.add(metric, value, item=f"{item}_neurons", **where)


def add_shuffles(results: Results, items: Sequence[str], plane: Plane, names: Sequence[str]) -> None:
    """The correlations with the tuning as it is, and with shuffled tuning; the items are those of the names."""
    for column, (item, name) in enumerate(zip(items, names, strict=True)):
        for kind, values in {IN_SAMPLE: plane.draws.in_sample, LEFT_OUT: plane.draws.left_out}.items():
            add_draws(results, item, TUNING_CORR, f"{name}, {kind}", values[:, column], plane.count)


def add_angles(results: Results, item: str, plane: Plane, names: Sequence[str]) -> None:
    """The angle as observed, with shuffled tuning, and of resampled neurons; and the axes as observed."""
    given = (plane.embedded, plane.tuning, discriminant_plane)
    resampled = bootstrap_angles(*given, draws=RESAMPLINGS, seed=results.seed)
    observed = plane.draws.angle[0]
    add_draws(results, item, ANGLE, "shuffled labels", plane.draws.angle, plane.count)
    add_draws(results, item, ANGLE, "resampled neurons", np.append(observed, resampled), plane.count)
    for name, axis in zip(names, plane.gradients.axes.T, strict=True):
        for coordinate, value in zip(COORDINATES, axis, strict=True):
            add_draws(results, item, f"axis of {name}", coordinate, np.array([value]), plane.count)


def add_draws(
    results: Results, item: str, metric: str, variant: str, values: Float[np.ndarray, " draw"], count: int
) -> None:
    """A statistic as observed, draw 0, and in each shuffle or resampling."""
    for draw, value in enumerate(values):
        results.add(metric, value, item=item, n=count, variant=variant, draw=draw, **ALL)
