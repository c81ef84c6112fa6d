"""What claims compare of embeddings: correlations, angles and accuracies against shuffled labels (6.4, App. E)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from calm.paper.claims.comparisons import (
    FAILS,
    HOLDS,
    HOLDS_FOR_SESSIONS,
    UNTESTED,
    Comparison,
    Mice,
    Tables,
    correct,
    dataset_of,
    significance,
    untested,
)
from calm.paper.claims.statistics import (
    LEVEL,
    NAN,
    Evidence,
    fisher_interval,
    means_of_mice,
    permutation_p,
    proportion_interval,
    t_test,
)

TUNING = "corr with tuning"
SESSION, NEURON = "session embedding", "neuron embedding"


def variables(tables: Tables) -> list[str]:
    """The two variables whose gradients were studied; the paper's where none were."""
    names = [tables[item]["variant"].iloc[0].split(", ")[0] for item in ("fig7a", "fig7b") if len(tables[item])]
    return names if len(names) == 2 else ["cue", "choice"]


def tuning_apart(
    tables: Tables, mice: Mice, *, item: str, shuffles: tuple[str, str], text: str, group: str
) -> list[Comparison]:
    """Is the tuning of left-out neurons correlated with their place among embeddings (claims 10 and 11)?

    Args:
        tables: of the folder.
        mice: see `Mice`.
        item: with the correlation in each session.
        shuffles: with the correlation for shuffled labels, of each variable.
        text: what is tested, with a place for the variable.
        group: of sessions that the items are of.
    """
    tests = []
    for name, shuffled in zip(variables(tables), shuffles, strict=True):
        draws = tables.draws(shuffled, variant=f"{name}, left-out neurons", metric=TUNING)
        rows = tables.rows(item, variant=f"{name}, left-out neurons, each session", metric=TUNING)
        sessions = rows.groupby("session")["value"].mean().astype(float)
        evidence = left_out(draws, sessions, mice, tables[shuffled]["n"]) if len(draws) else None
        dataset = dataset_of(tables[item])
        tests.append(Comparison(text.format(name), "corr, left-out neurons", evidence, dataset, group))
    return tests


def left_out(draws: Float[np.ndarray, " draw"], sessions: pd.Series, mice: Mice, neurons: pd.Series) -> Evidence:
    """p from shuffled labels; those about sessions and mice from the correlation in each session."""
    by_mouse = means_of_mice(sessions, mice)
    p_sessions, p_mice = (t_test(values)[-1] if len(values) > 1 else NAN for values in (sessions, by_mouse))
    interval = fisher_interval(draws[0], int(neurons.iloc[0]))
    return Evidence(float(draws[0]), *interval, permutation_p(draws), p_sessions, p_mice, as_claimed=bool(draws[0] > 0))


def beyond_shuffles(tables: Tables, mice: Mice, *, shuffles: tuple[str, str], group: str) -> list[Comparison]:
    """In-sample correlation, as the authors have it, less its mean for shuffled labels (claim 13)."""
    tests = []
    for name, item in zip(variables(tables), shuffles, strict=True):
        draws, evidence = tables.draws(item, variant=f"{name}, in-sample", metric=TUNING), None
        if len(draws) > 1:
            chance = draws[1:].mean()
            low, high = fisher_interval(draws[0], int(tables[item]["n"].iloc[0]))
            effect = float(draws[0] - chance)
            evidence = Evidence(effect, low - chance, high - chance, permutation_p(draws), as_claimed=effect > 0)
        method = f"LDA axis of {name} over shuffled labels"
        tests.append(Comparison(method, "corr difference", evidence, dataset_of(tables[item]), group))
    return tests


def right_angle(
    tables: Tables, mice: Mice, *, item: str, shuffles: tuple[str, str], group: str, margin: float
) -> list[Comparison]:
    """Angle between the two axes, with the interval of resampled neurons (claim 12).

    p, that of shuffled labels being as close to a right angle, decides nothing. It holds if the whole interval is
    within `margin` degrees of a right angle, and fails if all of it is beyond. Without gradients (`shuffles`, see
    `beyond_shuffles`) the angle says nothing.
    """

    def verdict(evidence: Evidence) -> str:
        if max(90 - evidence.low, evidence.high - 90) <= margin:
            return HOLDS_FOR_SESSIONS
        return FAILS if max(90 - evidence.high, evidence.low - 90) > margin else UNTESTED

    shuffled, resampled = (
        tables.draws(item, variant=variant, metric="angle (degrees)")
        for variant in ("shuffled labels", "resampled neurons")
    )
    gradients = correct(beyond_shuffles(tables, mice, shuffles=shuffles, group=group))
    there = all(each.evidence and significance(each.evidence, about_mice=False) != FAILS for each in gradients)
    evidence = None
    if len(shuffled):
        low, high = np.percentile(resampled[1:], [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)])
        evidence = Evidence(float(shuffled[0]), float(low), float(high), permutation_p(-np.abs(shuffled - 90)))
    method, needs = f"LDA axes of {' and '.join(variables(tables))}", "" if there else "gradients of both variables"
    dataset = dataset_of(tables[item])
    return [
        Comparison(method, "degrees", evidence, dataset, group, verdict=verdict if there else untested, needs=needs)
    ]


def label_draws(tables: Tables, kind: str, label: str, fewest: int) -> tuple[pd.DataFrame, str]:
    """Accuracy in all draws, observed first, none where a class has too few sessions; and what would be needed then.

    With few sessions of a class, a classifier learns the session instead.
    """
    draws = tables.rows("table9_shuffles", variant=kind, metric=f"accuracy {label}").sort_values("draw")
    predictions = tables.rows("table9_predictions", variant=kind, metric=f"count {label}")
    smallest = predictions.groupby("true")["session"].nunique().min()
    if len(draws) < 2 or smallest >= fewest:
        return draws.iloc[: len(draws) * (len(draws) > 1)], ""
    return draws.iloc[:0], f"{fewest} sessions of each {label} (one has {smallest})"


def sessions_tell(tables: Tables, mice: Mice, *, labels: Sequence[str], fewest: int) -> list[Comparison]:
    """Accuracy of the label of left-out sessions, less that for labels shuffled among sessions (claim 17)."""
    tests = []
    for label in labels:
        draws, needs = label_draws(tables, SESSION, label, fewest)
        evidence = None
        if len(draws):
            accuracy, count, chance = draws["value"].iloc[0], int(draws["n"].iloc[0]), draws["value"].iloc[1:].mean()
            low, high = proportion_interval(accuracy, count)
            p, effect = permutation_p(draws["value"].to_numpy(float)), float(accuracy - chance)
            evidence = Evidence(effect, low - chance, high - chance, p, p, as_claimed=effect > 0)
        dataset = dataset_of(tables["table9"])
        tests.append(Comparison(f"{SESSION}, {label}", "accuracy difference", evidence, dataset, needs=needs))
    return tests


def neurons_hardly_tell(
    tables: Tables, mice: Mice, *, labels: Sequence[str], margin: float, fewest: int
) -> list[Comparison]:
    """Accuracy of the label of left-out neurons, mean over sessions, less that for shuffled labels (claim 17).

    It holds if the whole interval is at most `margin`, and fails if all of it is above.
    """

    def verdict(evidence: Evidence) -> str:
        return HOLDS if evidence.high <= margin else FAILS if evidence.low > margin else UNTESTED

    tests = []
    for label in labels:
        draws, needs = label_draws(tables, NEURON, label, fewest)
        evidence = None
        if len(draws):
            rows = tables.rows("table9_predictions", variant=NEURON, metric=f"count {label}")
            right = rows["value"].where(rows["true"] == rows["predicted"], 0.0).groupby(rows["session"]).sum()
            accuracy = right / rows.groupby("session")["value"].sum()
            effect, low, high, p_sessions = t_test(accuracy - draws["value"].iloc[1:].mean())
            evidence = Evidence(effect, low, high, permutation_p(draws["value"].to_numpy(float)), p_sessions)
        method, dataset = f"{NEURON}, {label}, at most {margin}", dataset_of(tables["table9"])
        tests.append(Comparison(method, "accuracy difference", evidence, dataset, verdict=verdict, needs=needs))
    return tests
