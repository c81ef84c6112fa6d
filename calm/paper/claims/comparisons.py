"""What claims compare, trial by trial and session by session: results tables in, the tests of a claim's rows out."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from calm.paper.claims.statistics import (
    LEVEL,
    Evidence,
    equality_test,
    holm,
    level_test,
    paired_test,
    permutation_p,
)
from calm.paper.results import COLUMNS, FINE_TUNED, read_item

GROUPS = ("held-in", "held-out")
CHANNELS = ("r2 pitch", "r2 roll", "r2 yaw")  # that the paper decodes
HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS = "holds", "holds for these mice", "holds for these sessions"
FAILS, UNTESTED = "does not hold", "cannot be tested here"
Method = tuple[str, str]  # and variant
Mice = Mapping[str, str]  # whose a session is, by its name; empty for claims that are not about mice


class Tables(dict[str, pd.DataFrame]):
    """The results tables of a folder, each read once; one that is not there has no rows."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def __missing__(self, item: str) -> pd.DataFrame:
        path = self.folder / f"{item}.csv"
        none = pd.DataFrame(columns=[*COLUMNS, "subject", "trial", "draw", "true", "predicted"])
        self[item] = read_item(path) if path.exists() else none
        return self[item]

    @cached_property
    def mice(self) -> Mice:
        """From `data_session_subjects`."""
        sessions = self["data_session_subjects"]
        return dict(zip(sessions["session"], sessions["subject"].astype(str), strict=True))

    def rows(self, item: str, **where: str) -> pd.DataFrame:
        """The rows of an item with these values in these columns."""
        rows = self[item]
        return rows[(rows[list(where)] == pd.Series(where)).all(axis=1)]

    def draws(self, item: str, **where: str) -> Float[np.ndarray, " draw"]:
        """A statistic in all draws, as observed first; empty where there are no results."""
        return self.rows(item, **where).sort_values("draw")["value"].to_numpy(float)


@dataclasses.dataclass
class Comparison:
    """One test of a claim.

    Attributes:
        method: what is compared, as `CalM (greedy) over POCO`.
        metric: what the effect is.
        evidence: None where it cannot be tested.
        dataset: of the results.
        group: held-in or held-out, where that makes a difference.
        variant: what else tells it from the others, as the channel.
        counts: whether it is part of the claim, or beyond it.
        note: its verdict, where that is not whether the effect is significant and as claimed.
        needs: what it would take to test it; empty if that can be done.
    """

    method: str
    metric: str
    evidence: Evidence | None
    dataset: str
    group: str = ""
    variant: str = ""
    counts: bool = True
    note: str = ""
    needs: str = ""

    def verdict(self, *, about_mice: bool) -> str:
        """Whether it holds for mice (or, if it is not about them, sessions) like these, for these only, or not."""
        evidence = self.evidence
        if evidence is None or self.needs:
            return UNTESTED
        if self.note:
            return self.note
        if not evidence.as_claimed or evidence.p >= LEVEL:
            return FAILS
        if evidence.p_mice < LEVEL:
            return HOLDS
        if evidence.p_sessions < LEVEL:
            return HOLDS_FOR_MICE if about_mice else HOLDS
        return HOLDS_FOR_SESSIONS


def correct(comparisons: Sequence[Comparison]) -> Sequence[Comparison]:
    """Holm's correction of each of the p values over the comparisons that have it."""
    tested = [each for each in comparisons if each.evidence is not None]
    for name in ("p", "p_sessions", "p_mice"):
        p_values = holm([getattr(each.evidence, name) for each in tested])
        for each, p in zip(tested, p_values, strict=True):
            each.evidence = dataclasses.replace(each.evidence, **{name: p})
    return comparisons


def dataset_of(rows: pd.DataFrame) -> str:
    """What the rows are of; empty where there are none."""
    return ", ".join(dict.fromkeys(rows["dataset"]))


def method_name(method: Method) -> str:
    """`CalM (GLU head)`."""
    return f"{method[0]} ({method[1]})" if method[1] else method[0]


def chosen_variant(trials: pd.DataFrame) -> str | None:
    """The way to roll out that stands for CalM in its claims: the one with the best mean on validation trials."""
    scores = trials.query("method == 'CalM' and split == 'val'").groupby("variant")["value"].mean()
    return None if scores.empty else str(scores.idxmax())


def chosen_calm(trials: pd.DataFrame) -> Method:
    """CalM with the chosen variant, or the only one."""
    variants = trials.loc[trials["method"] == "CalM", "variant"].unique()
    return "CalM", variants[0] if len(variants) == 1 else chosen_variant(trials) or ""


def by_trial(rows: pd.DataFrame, columns: str | list[str], split: str = "test") -> pd.DataFrame:
    """A row a (session, trial); seeds of a trial are averaged."""
    rows = rows[rows["split"] == split]
    return rows.pivot_table(index=["session", "trial"], columns=columns, values="value")


def difference(scores: pd.DataFrame, first: str | Method, second: str | Method) -> pd.Series:
    """One column minus another on the rows that both have; none if a column is missing."""
    there = first in scores and second in scores
    return (scores[first] - scores[second]).dropna() if there else pd.Series(index=scores.index[:0], dtype=float)


# Methods


def methods(
    tables: Tables,
    mice: Mice,
    *,
    item: str,
    rivals: Sequence[str],
    variant: str = "",
    calm: str = "",
    metrics: Sequence[str] = ("corr",),
    channels: str = "",
    groups: Sequence[str] = ("",),
    margin: float = 0.0,
    others: bool = False,
    best: bool = False,
    relative: bool = False,
    counts: bool = True,
) -> list[Comparison]:
    """CalM minus each of some others, trial by trial: is the difference above -`margin`?

    Args:
        tables: of the folder.
        mice: see `Mice`.
        item: with a row for each trial.
        rivals: that the claim names.
        variant: of these.
        calm: variant; empty for the way to roll out that is best on validation trials.
        metrics: that are compared.
        channels: pattern of the behavioural channels whose R² are compared, too.
        groups: of sessions; empty for all together.
        margin: by which CalM may be worse.
        others: whether to compare with the other methods of the item, too; they do not count.
        best: whether to compare with none but the best rival, chosen on validation trials.
        relative: whether differences are relative to the mean of the rival, which is taken as known.
        counts: whether the claim depends on it.
    """
    tests = []
    for group, metric in itertools.product(groups, [*metrics, *channel_metrics(tables[item], channels)]):
        scored = tables.rows(item, metric=metric)
        rows = scored[scored["group"] == group] if group else scored
        named = [(name, variant) for name in rivals]
        named = [best_rival(rows, named)] if best else named
        for rival in [*named, *(each for each in other_methods(rows) if others and each not in named)]:
            pair = (("CalM", calm) if calm else chosen_calm(scored), rival)
            test = compare_methods(rows, mice, metric, pair, margin=margin, relative=relative)
            test.group, test.counts = group, counts and rival in named
            tests.append(test)
    return tests


def channel_metrics(rows: pd.DataFrame, pattern: str) -> list[str]:
    """R² of the channels that were decoded, or of those of the paper where nothing was."""
    names = [name for name in rows["metric"].unique() if name.startswith("r2 ")] or CHANNELS
    return [name for name in names if re.fullmatch(f"r2 {pattern}", name)]


def other_methods(rows: pd.DataFrame) -> list[Method]:
    """All but CalM, as the paper has it and fine-tuned, and ceilings, which know what no method may know."""
    names = rows[["method", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    return [each for each in names if each[0] not in ("CalM", FINE_TUNED, "ceiling")]


def best_rival(rows: pd.DataFrame, rivals: Sequence[Method]) -> Method:
    """The one with the best mean over sessions on validation trials."""
    scores = by_trial(rows, ["method", "variant"], "val")
    known = scores[[rival for rival in rivals if rival in scores]]
    return known.groupby("session").mean().mean().idxmax() if known.size else ("the best other decoder", "")


def compare_methods(
    rows: pd.DataFrame, mice: Mice, metric: str, pair: tuple[Method, Method], *, margin: float, relative: bool
) -> Comparison:
    """One method minus another in one metric; there is no relative difference from what is not above zero."""
    scores = by_trial(rows, ["method", "variant"])
    differences = difference(scores, *pair)
    if relative and len(differences):
        level = scores[pair[1]].groupby("session").mean().mean()
        differences = differences / level if level > 0 else differences.iloc[:0]
    kind, _, channel = metric.partition(" ") if metric.startswith("r2") else (metric.split()[0], "", "")
    return Comparison(
        method=" over ".join(map(method_name, pair)),
        metric="relative " * relative + f"{kind} difference" + (f", tested against -{margin}" if margin else ""),
        evidence=paired_test(differences, mice, margin=margin),
        dataset=dataset_of(rows),
        variant=channel or ("mean of channels" if kind == "r2" else ""),
    )


# Other scores of CalM


def above(
    tables: Tables, mice: Mice, *, item: str, metric: str, other: str, text: str, shuffles: str = ""
) -> list[Comparison]:
    """One score of CalM's forecasts against another one of the same, in each group.

    Args:
        tables: of the folder.
        mice: see `Mice`.
        item: with a row for each trial.
        metric: that is claimed to be larger.
        other: metric that it is compared with.
        text: after CalM's name.
        shuffles: item with the metric in shuffles of the trials, if they tell what chance gives.
    """
    rows, tests = tables.rows(item, method="CalM"), []
    calm = chosen_calm(rows)
    for group in GROUPS:
        scores = by_trial(rows[rows["group"] == group], "metric")
        evidence = paired_test(difference(scores, metric, other), mice)
        if evidence and shuffles:
            draws = tables.draws(shuffles, method="CalM", variant=calm[1], group=group, metric=metric)
            evidence = dataclasses.replace(evidence, p=permutation_p(draws))
        tests.append(Comparison(f"{method_name(calm)}{text}", "corr difference", evidence, dataset_of(rows), group))
    return tests


def faithful(tables: Tables, mice: Mice, *, item: str, floor: float, margin: float) -> list[Comparison]:
    """Reconstructions of held-in and of held-out mice against a floor, and against each other."""
    rows = tables.rows(item, split="test", metric="corr", method="CalM")
    held_in, held_out = (rows[rows["group"] == group].groupby("session")["value"].mean() for group in GROUPS)
    tests = {
        f"CalM, held-in over {floor}": level_test(held_in, mice, floor),
        f"CalM, held-out over {floor}": level_test(held_out, mice, floor),
        f"CalM, held-out minus held-in within {margin}": equality_test(held_out, held_in, mice, margin),
    }
    return [Comparison(method, "corr", evidence, dataset_of(rows)) for method, evidence in tests.items()]
