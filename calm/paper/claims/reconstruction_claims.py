"""Claim 1 as statistical tests: faithful reconstruction, equally good on held-out mice (section 6.1, Fig. 1B)."""

import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind

from calm.paper.claims.claims import COLUMNS, FAILS, HOLDS, HOLDS_HERE, LEVEL, UNTESTED

FAITHFUL = 0.9  # test correlation; the paper gives no number: four fifths of a trace's variance are kept
MARGIN = 0.02  # of test correlations that count as equal; the paper gives no number here either


def judge_claim_1(sessions: pd.DataFrame) -> pd.DataFrame:
    """Claim 1, three rows: reconstruction of held-in, of held-out sessions, and their difference.

    Columns are those of `calm.paper.claims.claims.judge_claim_2`: effect (`ours`), its 95 % interval over sessions, `p_sessions` and
    verdict (`note`). Of a group, the effect is its mean test correlation, and p is that of no more than FAITHFUL
    (one-sided t test). Of both, it is held-out minus held-in, with Welch's interval, and p is that of a difference of
    MARGIN or more in either direction (two one-sided t tests): a small one says that they are equal. `p` is empty:
    what holds for these very sessions can be read off their means.

    Args:
        sessions: results per session, as `fig1b`.
    """
    rows = sessions.query("split == 'test' and metric == 'corr' and method == 'CalM'")
    values = rows.groupby(["dataset", "group", "session"])["value"].mean()
    judged = []
    for dataset in rows["dataset"].unique():
        groups = {name: part.to_numpy() for name, part in values[dataset].groupby("group")}
        held_in, held_out = (groups.get(name, values.to_numpy()[:0]) for name in ("held-in", "held-out"))
        tests = {
            f"CalM, held-in over {FAITHFUL}": faithfulness(held_in),
            f"CalM, held-out over {FAITHFUL}": faithfulness(held_out),
            f"CalM, held-out minus held-in within {MARGIN}": equality(held_in, held_out),
        }
        shared = {"item": "claim 1", "dataset": dataset, "split": "test", "variant": "", "metric": "corr"}
        judged += [{**shared, "method": method, **test} for method, test in tests.items()]
    return pd.DataFrame(judged, columns=list(COLUMNS))


def faithfulness(values: Float[ndarray, " session"]) -> dict[str, float | str]:
    """Mean correlation, its interval, and whether it is over FAITHFUL."""
    if not len(values):
        return {"note": UNTESTED}
    mean = float(values.mean())
    if not testable(values):
        return {"ours": mean, "note": HOLDS_HERE if mean > FAITHFUL else FAILS}
    group = DescrStatsW(values)
    low, high = group.tconfint_mean(LEVEL)
    p = group.ttest_mean(FAITHFUL, alternative="larger")[1]
    return found(mean, low, high, p, mean > FAITHFUL)


def equality(held_in: Float[ndarray, " session"], held_out: Float[ndarray, " _session"]) -> dict[str, float | str]:
    """Difference of the mean correlations, its interval, and whether it is less than MARGIN."""
    if not len(held_in) or not len(held_out):
        return {"note": UNTESTED}
    difference = float(held_out.mean() - held_in.mean())
    if not testable(held_in) or not testable(held_out):
        return {"ours": difference, "note": HOLDS_HERE if abs(difference) < MARGIN else FAILS}
    both = CompareMeans(DescrStatsW(held_out), DescrStatsW(held_in))
    low, high = both.tconfint_diff(LEVEL, usevar="unequal")
    p = ttost_ind(held_out, held_in, -MARGIN, MARGIN, usevar="unequal")[0]
    return found(difference, low, high, p, abs(difference) < MARGIN)


def testable(values: Float[ndarray, " session"]) -> bool:
    """At least two sessions that differ: otherwise there is no error to estimate."""
    return bool(len(values) > 1 and values.std() > 0)


def found(effect: float, low: float, high: float, p: float, here: bool) -> dict[str, float | str]:
    """Numbers and verdict: it holds if p is small, else for these sessions if their means say so (`here`)."""
    note = HOLDS if p < LEVEL else HOLDS_HERE if here else FAILS
    return {"ours": effect, "low": float(low), "high": float(high), "p_sessions": float(p), "note": note}
