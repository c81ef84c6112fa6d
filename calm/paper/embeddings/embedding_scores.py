"""From neuron and session embeddings to rows of the results table (Fig. 5A, 5B, 6-8, Table 9)."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from calm.errors import CalmError
from calm.paper.embeddings.analysis import (
    Embedded,
    Gradients,
    PlaneFinder,
    Tuning,
    angle_between,
    discriminant_plane,
    find_gradients,
    fold_correlation,
    principal_plane,
    session_correlations,
    whole_correlation,
)
from calm.paper.embeddings.embedding_rows import (
    ALL,
    ANGLE,
    COORDINATES,
    D_PRIME_CORR,
    EACH_SESSION,
    IN_SAMPLE,
    ITEMS,
    LEFT_OUT,
    READ_OUT_CORR,
    RESAMPLED,
    SHUFFLED,
    TRUE_CORR,
    TUNING_CORR,
    VARIABLES_CORR,
    DrawRow,
    NeuronRow,
)
from calm.paper.embeddings.readout import tuning_read_outs
from calm.paper.embeddings.shuffles import Shuffles, bootstrap_angles, shuffle_labels
from calm.paper.embeddings.tuning import is_tuned
from calm.paper.results import Row, table

SHOWN = 2000  # neurons of a scatter plot, at most; drawn at random
RESAMPLINGS = 200  # for the interval of an angle


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """One plane through the embeddings of tuned neurons.

    Attributes:
        neurons: their rows of the tuning table.
        tuning: what the axes were found for.
        embedded: their embeddings.
        gradients: the axes.
        shuffles: statistics as observed and with shuffled labels.
    """

    neurons: pd.DataFrame
    tuning: Tuning
    embedded: Embedded
    gradients: Gradients
    shuffles: Shuffles


class TuningScores:
    """Collects what the embeddings of one group of sessions say about tuning to two variables.

    Attributes:
        rows: a statistic each.
        neuron_rows: coordinates and tuning of neurons, for scatter plots.
        draw_rows: statistics with shuffled labels, for p values; and angles of resampled neurons.
    """

    def __init__(self, dataset: str, group: str, variables: Sequence[str], *, draws: int, seed: int):
        self.dataset, self.items, self.variables = dataset, ITEMS[group], list(variables)
        self.draws, self.seed = draws, seed
        self.rows: list[Row] = []
        self.neuron_rows: list[NeuronRow] = []
        self.draw_rows: list[DrawRow] = []

    def add(
        self,
        embeddings: Float[np.ndarray, "neuron channel"],
        neurons: pd.DataFrame,
        truth: pd.DataFrame | None = None,
        *,
        refits: int = 99,
    ) -> list[str]:
        """All analyses; returns why some could not be done.

        Args:
            embeddings: of all neurons of the group.
            neurons: `calm.paper.embeddings.tuning.tuning_table` of them.
            truth: `calm.paper.embeddings.tuning.true_tuning` of them, where it is known.
            refits: shuffles of the read-outs, each of which is fitted anew.
        """
        analyses = [partial(self.add_principal, variable) for variable in self.variables]
        analyses.append(partial(self.add_discriminant, truth=truth))
        analyses.append(partial(self.add_read_outs, truth=truth, draws=refits))
        reasons = []
        for analyse in analyses:
            try:
                analyse(embeddings, neurons)
            except CalmError as reason:
                reasons.append(str(reason))
        return list(dict.fromkeys(reasons))

    def add_principal(
        self, variable: str, embeddings: Float[np.ndarray, "neuron channel"], neurons: pd.DataFrame
    ) -> None:
        """PCA of the neurons that are tuned to a variable: do preferences separate (Fig. 5A, 8A)?

        Raises:
            CalmError: see `Embedded.prepare` and `find_gradients`.
        """
        chosen = np.flatnonzero(is_tuned(neurons[[variable]].to_numpy()))
        tuned, item = neurons.iloc[chosen], self.items.principal
        preferred = np.sign(tuned[[variable]].to_numpy())
        study = self.study(embeddings[chosen], tuned, preferred, principal_plane)
        self.add_statistics(item, study, [variable], {TUNING_CORR: preferred})
        self.add_neurons(item, study, variable, {variable: tuned[variable].to_numpy()})
        self.add_shuffles([f"{item}_null"], study, [variable])

    def add_discriminant(
        self,
        embeddings: Float[np.ndarray, "neuron channel"],
        neurons: pd.DataFrame,
        *,
        truth: pd.DataFrame | None,
    ) -> None:
        """LDA of the neurons tuned to either variable, the axis of each, angle and shuffles (Fig. 5B, 7, 8B, 8C).

        Raises:
            CalmError: see `Embedded.prepare` and `find_gradients`.
        """
        item, names = self.items.discriminant, self.variables
        chosen = np.flatnonzero(is_tuned(neurons[names].to_numpy()))
        tuned = neurons.iloc[chosen]
        study = self.study(embeddings[chosen], tuned, tuned[names].to_numpy(), discriminant_plane)
        targets = {TUNING_CORR: study.tuning}
        if truth is not None:
            targets[TRUE_CORR] = truth[names].to_numpy()[chosen]
            self.add_values(item, study, D_PRIME_CORR, names, whole_correlation(study.tuning, targets[TRUE_CORR]))
        self.add_statistics(item, study, names, targets)
        self.add_values(item, study, VARIABLES_CORR, [""], [np.corrcoef(study.tuning.T)[0, 1]])
        self.add_values(item, study, ANGLE, [""], [angle_between(study.gradients.axes)])
        self.add_neurons(item, study, "", dict(zip(names, study.tuning.T, strict=True)))
        self.add_shuffles(self.items.shuffles, study, names)
        self.add_angles(f"{item}_angles", study)

    def add_read_outs(
        self,
        embeddings: Float[np.ndarray, "neuron channel"],
        neurons: pd.DataFrame,
        *,
        truth: pd.DataFrame | None,
        draws: int,
    ) -> None:
        """What can be read out of the embeddings of all neurons: d', and where it is known the truth.

        Raises:
            CalmError: see `Embedded.prepare`.
        """
        given = {"draws": draws, "seed": self.seed}
        targets, found = tuning_read_outs(embeddings, neurons, self.variables, truth, **given)
        for name, values in zip(targets, found.T, strict=True):
            self.add_draws(self.items.read_out, len(targets), READ_OUT_CORR, name, values)

    def study(
        self,
        embeddings: Float[np.ndarray, "neuron channel"],
        neurons: pd.DataFrame,
        tuning: Tuning,
        find_plane: PlaneFinder,
    ) -> Study:
        """A plane, its axes and its shuffles."""
        embedded = Embedded.prepare(embeddings, pd.factorize(neurons["session"])[0], self.seed)
        gradients = find_gradients(embedded, tuning, find_plane)
        shuffles = shuffle_labels(embedded, tuning, find_plane, draws=self.draws, seed=self.seed)
        return Study(neurons, tuning, embedded, gradients, shuffles)

    def shared(self, item: str, count: int, variant: str) -> dict[str, str | int]:
        """What all rows have in common."""
        about = {"item": item, "dataset": self.dataset, "split": ALL, "method": "CalM", "variant": variant}
        return {**about, "n": count, "seed": self.seed}

    def add_values(
        self, item: str, study: Study, metric: str, variants: Sequence[str], values: Sequence[float] | np.ndarray
    ) -> None:
        """A row of all sessions together for each variant."""
        for variant, value in zip(variants, values, strict=True):
            shared = self.shared(item, len(study.neurons), variant)
            self.rows.append(Row(session=ALL, metric=metric, value=float(value), **shared))

    def add_statistics(self, item: str, study: Study, names: Sequence[str], targets: Mapping[str, Tuning]) -> None:
        """Correlations along the axes with each target: in-sample, of left-out neurons, and of those by session."""
        gradients, sessions = study.gradients, study.neurons["session"].unique()
        for metric, target in targets.items():
            kinds = {
                IN_SAMPLE: whole_correlation(gradients.along, target),
                LEFT_OUT: fold_correlation(study.embedded, gradients.left_out, target),
            }
            for kind, values in kinds.items():
                self.add_values(item, study, metric, [f"{name}, {kind}" for name in names], values)
            for code, values in session_correlations(study.embedded, gradients.left_out, target).items():
                count = int((study.embedded.sessions == code).sum())
                for name, value in zip(names, values, strict=True):
                    shared = self.shared(item, count, f"{name}, {EACH_SESSION}")
                    self.rows.append(Row(session=str(sessions[code]), metric=metric, value=float(value), **shared))

    def add_neurons(
        self, item: str, study: Study, variant: str, tuning: Mapping[str, Float[np.ndarray, " neuron"]]
    ) -> None:
        """Coordinates and d' of SHOWN neurons at most."""
        chosen = np.random.default_rng(self.seed).permutation(len(study.neurons))[:SHOWN]
        columns = dict(zip(COORDINATES, study.gradients.coordinates.T, strict=True))
        shared = self.shared(f"{item}_neurons", 1, variant)
        for metric, values in {**columns, **tuning}.items():
            shown = study.neurons.iloc[chosen][["session", "neuron"]].assign(value=values[chosen])
            self.neuron_rows += [NeuronRow(metric=metric, **shared, **row) for row in shown.to_dict("records")]

    def add_shuffles(self, items: Sequence[str], study: Study, names: Sequence[str]) -> None:
        """The correlations with the labels as they are, and with shuffled ones; the items are those of the names."""
        for column, (item, name) in enumerate(zip(items, names, strict=True)):
            kinds = {IN_SAMPLE: study.shuffles.whole, LEFT_OUT: study.shuffles.left_out}
            for kind, values in kinds.items():
                self.add_draws(item, len(study.neurons), TUNING_CORR, f"{name}, {kind}", values[:, column])

    def add_angles(self, item: str, study: Study) -> None:
        """The angle as observed, with shuffled labels, and of resampled neurons; and the axes as observed."""
        how = {"draws": RESAMPLINGS, "seed": self.seed}
        resampled = bootstrap_angles(study.embedded, study.tuning, discriminant_plane, **how)
        self.add_draws(item, len(study.neurons), ANGLE, SHUFFLED, study.shuffles.angle)
        self.add_draws(item, len(study.neurons), ANGLE, RESAMPLED, np.append(study.shuffles.angle[0], resampled))
        for name, axis in zip(self.variables, study.gradients.axes.T, strict=True):
            for coordinate, value in zip(COORDINATES, axis, strict=True):
                self.add_draws(item, len(study.neurons), f"axis of {name}", coordinate, np.array([value]))

    def add_draws(self, item: str, count: int, metric: str, variant: str, values: Float[np.ndarray, " draw"]) -> None:
        """A row a draw."""
        shared = {**self.shared(item, count, variant), "session": ALL, "metric": metric}
        self.draw_rows += [DrawRow(value=float(value), draw=draw, **shared) for draw, value in enumerate(values)]

    def tables(self) -> dict[str, pd.DataFrame]:
        """A table for each item."""
        kinds = [table(rows) for rows in (self.rows, self.neuron_rows, self.draw_rows) if rows]
        return {str(item): own for rows in kinds for item, own in rows.groupby("item", sort=False)}
