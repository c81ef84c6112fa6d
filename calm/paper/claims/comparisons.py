"""What claims compare, trial by trial and session by session: results tables in, the tests of a claim's rows out."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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
    least_sure,
    level_test,
    paired_test,
    permutation_p,
)
from calm.paper.results import COLUMNS, read_item

GROUPS = ("held-in", "held-out")
CHANNELS = ("r2 pitch", "r2 roll", "r2 yaw")  # that the paper decodes
HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS = "holds", "holds for these mice", "holds for these sessions"
FAILS, UNTESTED = "does not hold", "cannot be tested here"
Method = tuple[str, str]  # and variant
Mice = Mapping[str, str]  # whose a session is, by its name; empty for claims that are not about mice


class Tables:
    """The results tables of a folder, each read once; one that is not there has no rows."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tables: dict[str, pd.DataFrame] = {}

    def __getitem__(self, item: str) -> pd.DataFrame:
        if item not in self.tables:
            path = self.folder / f"{item}.csv"
            none = pd.DataFrame(columns=[*COLUMNS, "trial", "draw", "true", "predicted"])
            self.tables[item] = read_item(path) if path.exists() else none
        return self.tables[item]

    @cached_property
    def mice(self) -> Mice:
        """From `data_session`, whose variant is the subject."""
        sessions = self["data_session"]
        return dict(zip(sessions["session"], sessions["variant"], strict=True))

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
        verdict: from the evidence; None for one that asks for an effect that is significant and as claimed.
        needs: what it would take to test it.
    """

    method: str
    metric: str
    evidence: Evidence | None
    dataset: str
    group: str = ""
    variant: str = ""
    counts: bool = True
    verdict: Callable[[Evidence], str] | None = None
    needs: str = ""


def correct(comparisons: Sequence[Comparison]) -> Sequence[Comparison]:
    """Holm's correction of each of the p values over the comparisons that have it."""
    tested = [each for each in comparisons if each.evidence is not None]
    for name in ("p", "p_sessions", "p_mice"):
        p_values = holm([getattr(each.evidence, name) for each in tested])
        for each, p in zip(tested, p_values, strict=True):
            each.evidence = dataclasses.replace(each.evidence, **{name: p})
    return comparisons


def significance(evidence: Evidence, *, about_mice: bool) -> str:
    """Whether a claim holds for mice (or, if it is not about them, sessions) like these, for these only, or not."""
    if not evidence.as_claimed or evidence.p >= LEVEL:
        return FAILS
    if evidence.p_mice < LEVEL:
        return HOLDS
    if evidence.p_sessions < LEVEL:
        return HOLDS_FOR_MICE if about_mice else HOLDS
    return HOLDS_FOR_SESSIONS


def untested(_: Evidence) -> str:
    """The verdict where evidence is no evidence."""
    return UNTESTED


def dataset_of(rows: pd.DataFrame) -> str:
    """What the rows are of; empty where there are none."""
    return ", ".join(dict.fromkeys(rows["dataset"]))


def named(method: Method) -> str:
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


def difference(scores: pd.DataFrame, ours: str | Method, theirs: str | Method) -> pd.Series:
    """One column minus another on the rows that both have; none if a column is missing."""
    there = ours in scores and theirs in scores
    return (scores[ours] - scores[theirs]).dropna() if there else pd.Series(index=scores.index[:0], dtype=float)


def compare_methods(
    rows: pd.DataFrame, mice: Mice, metric: str, ours: Method, theirs: Sequence[Method], *, margin: float = 0.0
) -> list[Comparison]:
    """One method minus each of some others, trial by trial: is the difference above -`margin`?"""
    scores = by_trial(rows[rows["metric"] == metric], ["method", "variant"])
    about = f", tested against -{margin}" if margin else ""
    channel = metric.removeprefix("r2").strip() or "mean of channels" if metric.startswith("r2") else ""
    return [
        Comparison(
            method=f"{named(ours)} over {named(each)}",
            metric=f"{metric.split()[0]} difference{about}",
            evidence=paired_test(difference(scores, ours, each), mice, margin=margin),
            dataset=dataset_of(rows),
            variant=channel,
        )
        for each in theirs
    ]


def other_methods(rows: pd.DataFrame, rivals: Sequence[str]) -> list[Method]:
    """Whom a claim does not name. Ceilings know what no method may know, and are none of them."""
    methods = rows[["method", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    return [
        each for each in methods if each[0] not in ("CalM", "ceiling") and each not in [(name, "") for name in rivals]
    ]


def better(
    tables: Tables,
    mice: Mice,
    *,
    item: str,
    rivals: Sequence[str],
    metric: str = "corr",
    groups: Sequence[str] = ("",),
    margin: float = 0.0,
    others: bool = False,
) -> list[Comparison]:
    """Forecasts of CalM against those of others, in each group of sessions (claims 2, 3, 4 and 15).

    Args:
        tables: of the folder.
        mice: see `Mice`.
        item: with a row a trial.
        rivals: that the claim names.
        metric: of the forecasts.
        groups: empty for all sessions together.
        margin: by which CalM may be worse.
        others: whether to compare with the other methods of the item, too; they do not count.
    """
    rows, tests = tables.rows(item, metric=metric), []
    calm, named_rivals = chosen_calm(rows), [(name, "") for name in rivals]
    for group in groups:
        own = rows[rows["group"] == group] if group else rows
        theirs = named_rivals + other_methods(own, rivals) * others
        for each, rival in zip(compare_methods(own, mice, metric, calm, theirs, margin=margin), theirs, strict=True):
            tests.append(dataclasses.replace(each, group=group, counts=rival in named_rivals))
    return tests


def channels_of(rows: pd.DataFrame) -> list[str]:
    """Metrics of the channels that were decoded, or those of the paper where nothing was."""
    return [name for name in rows["metric"].unique() if name.startswith("r2 ")] or list(CHANNELS)


def decodes_better(
    tables: Tables, mice: Mice, *, item: str, rivals: Sequence[str], excepted: str, claimed: bool
) -> list[Comparison]:
    """The GLU head against other decoders, on all channels but the excepted one, or on that, unclaimed (claim 6)."""
    rows, tests = tables[item], []
    named_rivals = [(name, "") for name in rivals]
    theirs = named_rivals + other_methods(rows, rivals)
    for metric in channels_of(rows):
        if (metric != excepted) == claimed:
            compared = compare_methods(rows, mice, metric, ("CalM", "GLU head"), theirs)
            counts = [claimed and rival in named_rivals for rival in theirs]
            tests += [dataclasses.replace(*pair[:1], counts=pair[1]) for pair in zip(compared, counts, strict=True)]
    return tests


def near_best(tables: Tables, mice: Mice, *, item: str, rivals: Sequence[str], margin: float) -> list[Comparison]:
    """The linear head against the best other decoder, chosen on validation trials, on each channel (claim 7)."""
    rows, tests = tables[item], []
    for metric in ["r2", *channels_of(rows)]:
        scores = by_trial(rows[rows["metric"] == metric], ["method", "variant"], "val")
        known = scores[[(name, "") for name in rivals if (name, "") in scores]]
        best = known.groupby("session").mean().mean().idxmax() if known.size else ("the best other decoder", "")
        tests += compare_methods(rows, mice, metric, ("CalM", "linear head"), [best], margin=margin)
    return tests


def gain(
    tables: Tables, mice: Mice, *, item: str, rival: str, metrics: Sequence[str], group: str, relative: bool
) -> list[Comparison]:
    """The GLU head against one decoder, in R² or relative to its mean, which is taken as known (claims 8 and 9).

    The paper does not say which of them its gains are. Without a positive mean there is no relative one.
    """
    rows, ours, theirs = tables.rows(item, group=group), ("CalM", "GLU head"), (rival, "")
    tests = [dataclasses.replace(compare_methods(rows, mice, each, ours, [theirs])[0], group=group) for each in metrics]
    for metric, test in zip(metrics, tests if relative else (), strict=relative):
        test.metric = f"relative {test.metric}"
        if test.evidence:
            scores = by_trial(rows[rows["metric"] == metric], ["method", "variant"])
            level = scores[theirs].groupby("session").mean().mean()
            test.evidence = scaled(test.evidence, 1 / level) if level > 0 else None
    return tests


def scaled(evidence: Evidence, factor: float) -> Evidence:
    """Effect and interval in another unit."""
    numbers = {name: getattr(evidence, name) * factor for name in ("effect", "low", "high")}
    return dataclasses.replace(evidence, **numbers)


def above(
    tables: Tables, mice: Mice, *, item: str, metric: str, other: str, text: str, shuffles: str = ""
) -> list[Comparison]:
    """One score of CalM's forecasts against another one of the same, in each group (claims 15 and 16).

    Args:
        tables: of the folder.
        mice: see `Mice`.
        item: with a row a trial.
        metric: that is claimed to be larger.
        other: metric that it is compared with.
        text: behind CalM's name.
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
        tests.append(Comparison(f"{named(calm)}{text}", "corr difference", evidence, dataset_of(rows), group))
    return tests


def faithful(tables: Tables, mice: Mice, *, item: str, floor: float, margin: float) -> list[Comparison]:
    """Reconstructions of held-in and of held-out mice against a floor, and against each other (claim 1)."""
    rows = tables.rows(item, split="test", metric="corr", method="CalM")
    held_in, held_out = (rows[rows["group"] == group].groupby("session")["value"].mean() for group in GROUPS)
    tests = {
        f"CalM, held-in over {floor}": level_test(held_in, mice, floor),
        f"CalM, held-out over {floor}": level_test(held_out, mice, floor),
        f"CalM, held-out minus held-in within {margin}": equality_test(held_out, held_in, mice, margin),
    }
    return [Comparison(method, "corr", evidence, dataset_of(rows)) for method, evidence in tests.items()]


# Ablations: sessions that share a training share its luck, so trainings take the place that sessions have elsewhere.


def by_training(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row a (session, training), a column a variant; the baseline is the same in all items."""
    return rows[rows["metric"] == metric].pivot_table(index=["session", "seed"], columns="variant", values="value")


def ablated(scores: pd.DataFrame, ours: str, theirs: str) -> Evidence | None:
    """One variant minus another; `p_sessions` and the interval are about trainings like these."""
    return paired_test(difference(scores, ours, theirs), {}, nested_in="seed")


def ablation_effects(rows: pd.DataFrame) -> pd.DataFrame:
    """What each part adds to each score, baseline minus variant: `metric`, `variant`, and the fields of `Evidence`."""
    effects = []
    for metric in rows["metric"].unique():
        scores = by_training(rows, metric)
        for variant in rows.loc[rows["variant"] != "baseline", "variant"].unique():
            if evidence := ablated(scores, "baseline", variant):
                effects.append({"metric": metric, "variant": variant, **dataclasses.asdict(evidence)})
    return pd.DataFrame(effects, columns=["metric", "variant", *Evidence.__annotations__])


def enough_pairs(scores: pd.DataFrame, parts: Sequence[str]) -> dict[str, Callable | str | None]:
    """Verdict and needs: p of n pairs is 2^(1 - n) at least, and has to be significant after Holm over the parts."""
    fewest = int(np.floor(1 + np.log2(len(parts) / LEVEL))) + 1
    enough = len(scores) >= fewest
    return {} if enough else {"verdict": untested, "needs": f"{fewest} pairs of session and training"}


def helps(
    tables: Tables, mice: Mice, *, items: Sequence[str], metric: str, rollout: str, parts: Sequence[str]
) -> list[Comparison]:
    """The baseline against the variants without one part each (claim 18)."""
    rows = pd.concat([tables[item] for item in items], ignore_index=True)
    scores, dataset = by_training(rows, metric), dataset_of(rows)
    return [
        Comparison(
            method=f"CalM ({rollout}) over CalM {part}",
            metric="corr difference",
            evidence=ablated(scores, "baseline", part),
            dataset=dataset,
            **enough_pairs(scores, parts),
        )
        for part in parts
    ]


def helps_most(
    tables: Tables, mice: Mice, *, items: Sequence[str], metric: str, rollout: str, parts: Sequence[str], most: str
) -> list[Comparison]:
    """All other variants against the one without the part that is claimed to help most (claim 18)."""
    rows = pd.concat([tables[item] for item in items], ignore_index=True)
    scores, dataset = by_training(rows, metric), dataset_of(rows)
    evidence = least_sure([ablated(scores, part, most) for part in parts if part != most])
    method = f"CalM ({rollout}): {most.removeprefix('without ')} over every other part"
    return [Comparison(method, "corr difference", evidence, dataset, **enough_pairs(scores, parts))]
