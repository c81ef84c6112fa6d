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
SESSION = "session embedding"


def within(evidence: Evidence | None, low: float, high: float, holds: str) -> str:
    """The verdict `holds` if the whole interval is within bounds, FAILS if all of it is beyond, else UNTESTED."""
    if evidence is None:
        return ""
    if low <= evidence.low and evidence.high <= high:
        return holds
    return FAILS if evidence.high < low or evidence.low > high else UNTESTED


def variables(tables: Tables) -> list[str]:
    """The two variables whose gradients were studied; the paper's where none were."""
    names = [tables[item]["variant"].iloc[0].split(", ")[0] for item in ("fig7a", "fig7b") if len(tables[item])]
    return names if len(names) == 2 else ["cue", "choice"]


def tuning(
    tables: Tables,
    mice: Mice,
    *,
    item: str,
    shuffles: Sequence[str],
    group: str,
    method: str,
    in_sample: bool = False,
) -> list[Comparison]:
    """Is the tuning of neurons correlated with their place among embeddings?

    Args:
        tables: of the folder.
        mice: see `Mice`.
        item: with the correlation in each session.
        shuffles: with the correlation for shuffled labels, of each variable.
        group: of sessions that the items are of.
        method: what is tested, with a place for the variable.
        in_sample: over the neurons that the axis was found with, as the authors have it, less the mean for shuffled
            labels; else over left-out neurons.
    """
    kind, metric = ("in-sample", "corr difference") if in_sample else ("left-out neurons", "corr, left-out neurons")
    tests = []
    for name, shuffled in zip(variables(tables), shuffles, strict=True):
        draws, evidence = tables.draws(shuffled, variant=f"{name}, {kind}", metric=TUNING), None
        if len(draws) > 1:
            interval = fisher_interval(draws[0], int(tables[shuffled]["n"].iloc[0]))
            rows = tables.rows(item, variant=f"{name}, {kind}, each session", metric=TUNING)
            p_values = widest_p(rows.groupby("session")["value"].mean().astype(float), mice)
            chance = draws[1:].mean() if in_sample else 0.0
            evidence = over_chance(draws, interval, chance, *p_values)
        tests.append(Comparison(method.format(name), metric, evidence, dataset_of(tables[shuffled]), group))
    return tests


def widest_p(sessions: pd.Series, mice: Mice) -> list[float]:
    """p about other sessions and about other mice, of a value for each session; NaN for a single one."""
    return [t_test(values)[-1] if len(values) > 1 else NAN for values in (sessions, means_of_mice(sessions, mice))]


def over_chance(
    draws: Float[np.ndarray, " draw"],
    interval: tuple[float, float],
    chance: float,
    p_sessions: float,
    p_mice: float = NAN,
) -> Evidence:
    """Draw 0, whose interval is known, less what chance gives."""
    effect, low, high = (float(value - chance) for value in (draws[0], *interval))
    return Evidence(effect, low, high, permutation_p(draws), p_sessions, p_mice, as_claimed=effect > 0)


def right_angle(
    tables: Tables, mice: Mice, *, item: str, shuffles: Sequence[str], group: str, margin: float
) -> list[Comparison]:
    """Angle between the two axes, with the interval of resampled neurons: is it within `margin` degrees of a right one?

    p, that of shuffled labels being as close to a right angle, decides nothing. Without gradients (`shuffles`, see
    `tuning`) the angle says nothing.
    """
    shuffled, resampled = (
        tables.draws(item, variant=variant, metric="angle (degrees)")
        for variant in ("shuffled labels", "resampled neurons")
    )
    gradients = correct(tuning(tables, mice, item=item, shuffles=shuffles, group=group, method="{}", in_sample=True))
    there = all(each.verdict(about_mice=False) not in (FAILS, UNTESTED) for each in gradients)
    evidence = None
    if len(shuffled):
        low, high = np.percentile(resampled[1:], [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)])
        evidence = Evidence(float(shuffled[0]), float(low), float(high), permutation_p(-np.abs(shuffled - 90)))
    return [
        Comparison(
            method=f"LDA axes of {' and '.join(variables(tables))}",
            metric="degrees",
            evidence=evidence,
            dataset=dataset_of(tables[item]),
            group=group,
            note=within(evidence, 90 - margin, 90 + margin, HOLDS_FOR_SESSIONS),
            needs="" if there else "gradients of both variables",
        )
    ]


def attributes(
    tables: Tables, mice: Mice, *, embedding: str, names: Sequence[str], fewest: int, margin: float | None = None
) -> list[Comparison]:
    """Accuracy of mouse, area, ... of what was left out, less that for shuffled labels (Table 9).

    Args:
        tables: of the folder.
        mice: see `Mice`.
        embedding: session embedding (labels are shuffled among sessions) or neuron embedding (mean over sessions).
        names: of the attributes.
        fewest: sessions of a class; with less, a classifier learns the session instead.
        margin: the most that the accuracy is claimed to be above chance; None where it is claimed to be above chance.
    """
    tests = []
    for name in names:
        shuffles = tables.rows("table9_shuffles", variant=embedding, metric=f"accuracy {name}").sort_values("draw")
        predictions = tables.rows("table9_predictions", variant=embedding, metric=f"count {name}")
        test = Comparison(f"{embedding}, {name}", "accuracy difference", None, dataset_of(tables["table9"]))
        smallest = predictions.groupby("true")["session"].nunique().min()
        if len(shuffles) > 1 and smallest < fewest:
            test.needs = f"{fewest} sessions of each {name} (one has {smallest})"
        elif len(shuffles) > 1:
            test.evidence = accuracy(shuffles, predictions, embedding)
        if margin is not None:
            test.method += f", at most {margin}"
            test.note = within(test.evidence, -np.inf, margin, HOLDS)
        tests.append(test)
    return tests


def accuracy(shuffles: pd.DataFrame, predictions: pd.DataFrame, embedding: str) -> Evidence:
    """Share of sessions that were told, or of the neurons of each session, above chance; other sessions may differ."""
    draws = shuffles["value"].to_numpy(float)
    if embedding == SESSION:
        interval = proportion_interval(draws[0], int(shuffles["n"].iloc[0]))
        return over_chance(draws, interval, draws[1:].mean(), permutation_p(draws))
    right = predictions["value"].where(predictions["true"] == predictions["predicted"], 0.0)
    shares = right.groupby(predictions["session"]).sum() / predictions.groupby("session")["value"].sum()
    effect, low, high, p_sessions = t_test(shares - draws[1:].mean())
    return Evidence(effect, low, high, permutation_p(draws), p_sessions)
