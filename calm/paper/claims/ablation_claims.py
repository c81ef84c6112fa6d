"""Claim 18 as a test: every ablated part helps, scheduled sampling most (App. D, Tables 7 and 8)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from calm.paper.claims.claims import COLUMNS, LEVEL, UNTESTED, PairedTest, compare, judged, numbers, verdict
from calm.paper.experiments.ablations import BASELINE, NO_REPLACEMENT, NO_SAMPLING, RECONSTRUCTION, ROLLOUTS, VARIANTS

CLAIMED = ("without AR loss", "without Gumbel", "without orthogonality", NO_SAMPLING, NO_REPLACEMENT)


def pair_variants(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Scores of one metric, a row per (session, seed), a column per variant; the baseline is in both tables."""
    rows = results[results["metric"] == metric]
    return rows.pivot_table(index=["session", "seed"], columns="variant", values="value")


def compare_variants(paired: pd.DataFrame, better: str, worse: str) -> PairedTest | None:
    """One variant minus another, paired by session and seed; None where that cannot be tested.

    What is repeated is the training: sessions of one seed share a training and its luck. So seeds are the groups, in
    the place that sessions have in `PairedTest`: `p` is about these very trainings, `p_sessions` and the interval are
    about trainings like them; a single seed has no `p_sessions`.
    """
    return compare(paired, better, worse, group="seed")


def effects(results: pd.DataFrame) -> pd.DataFrame:
    """What each part adds to each score, baseline minus variant, with 95 % interval; p values are not corrected.

    Args:
        results: rows of Tables 7 and 8, as of `calm.paper.experiments.ablations.run_ablations`.
    """
    rows = []
    for metric in (*ROLLOUTS.values(), RECONSTRUCTION):
        paired = pair_variants(results, metric)
        tests = {variant: compare_variants(paired, BASELINE, variant) for variant in VARIANTS if variant != BASELINE}
        rows += [{"metric": metric, "variant": name, **numbers(test)} for name, test in tests.items() if test]
    return pd.DataFrame(rows, columns=["metric", "variant", "ours", "low", "high", "p", "p_sessions"])


def weakest(tests: Iterable[PairedTest | None]) -> dict[str, float] | None:
    """Being above all others is as sure as the least sure of the comparisons, which needs no correction."""
    found = [numbers(test) if test else None for test in tests]
    if None in found:
        return None
    least = min(found, key=lambda test: test["ours"])
    return least | {name: float(np.max([test[name] for test in found])) for name in ("p", "p_sessions")}


def can_hold(paired: pd.DataFrame) -> bool:
    """Whether so many pairs of session and seed can be significant at all: with n of them, p is 2^(1 - n) at least."""
    return 2.0 ** (1 - len(paired)) * len(CLAIMED) < LEVEL


def judge_claim_18(results: pd.DataFrame) -> pd.DataFrame:
    """Claim 18 for each rollout: a row per part (Holm-corrected over the parts), and one for `scheduled sampling most`.

    Columns as of `calm.paper.claims.claims.judge_claim_2`; `p_sessions` is about other trainings, see `compare_variants`, and
    `holds for these sessions` therefore means: for these sessions as trained here.

    Args:
        results: rows of Tables 7 and 8, as of `calm.paper.experiments.ablations.run_ablations`.
    """
    shared = {"item": "claim 18", "dataset": "".join(results["dataset"].unique()[:1]), "split": "test", "variant": ""}
    shared["metric"] = "corr difference"
    rows = []
    for rollout, metric in ROLLOUTS.items():
        paired = pair_variants(results, metric)
        found = judged([compare_variants(paired, BASELINE, name) for name in CLAIMED])
        most = weakest(compare_variants(paired, name, NO_SAMPLING) for name in CLAIMED if name != NO_SAMPLING)
        names = [f"CalM ({rollout}) over CalM {name}" for name in CLAIMED]
        names.append(f"CalM ({rollout}): scheduled sampling over every other part")
        note = {} if can_hold(paired) else {"note": UNTESTED}
        for name, row in zip(names, [*found, {**(most or {}), "note": verdict(most)}], strict=True):
            rows.append({**shared, "method": name, **row, **note})
    return pd.DataFrame(rows, columns=list(COLUMNS))
