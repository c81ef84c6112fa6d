"""Claim 18 as a test: every ablated part helps, scheduled sampling most (App. D, Tables 7 and 8)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from calm.ablations import BASELINE, NO_REPLACEMENT, NO_SAMPLING, RECONSTRUCTION, ROLLOUTS, VARIANTS
from calm.claims import LEVEL, UNTESTED, PairedTest, corrected, is_testable, paired_claim, verdict

CLAIM_18 = "Each term of the quantizer and each training strategy of the transformer helps, scheduled sampling most."
CLAIMED = ("without AR loss", "without Gumbel", "without orthogonality", NO_SAMPLING, NO_REPLACEMENT)
NUMBERS = ["ours", "low", "high", "p", "p_sessions"]


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
    if not {better, worse} <= set(paired):
        return None
    both = paired[[better, worse]].dropna()
    differences, seeds = (both[better] - both[worse]).to_numpy(), both.index.get_level_values("seed").astype(str)
    return paired_claim(differences, list(seeds)) if is_testable(differences, list(seeds)) else None


def numbers(test: PairedTest) -> dict[str, float]:
    """A test under the names of the columns of the claims."""
    return dict(zip(NUMBERS, (test.effect, test.low, test.high, test.p, test.p_sessions), strict=True))


def effects(results: pd.DataFrame) -> pd.DataFrame:
    """What each part adds to each score, baseline minus variant, with 95 % interval; p values are not corrected.

    Args:
        results: rows of Tables 7 and 8, as of `calm.ablations.run_ablations`.
    """
    rows = []
    for metric in (*ROLLOUTS.values(), RECONSTRUCTION):
        paired = pair_variants(results, metric)
        tests = {variant: compare_variants(paired, BASELINE, variant) for variant in VARIANTS if variant != BASELINE}
        rows += [{"metric": metric, "variant": name, **numbers(test)} for name, test in tests.items() if test]
    return pd.DataFrame(rows, columns=["metric", "variant", *NUMBERS])


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

    Columns as of `calm.claims.judge_claim_2`; `p_sessions` is about other trainings, see `compare_variants`, and
    `holds for these sessions` therefore means: for these sessions as trained here.

    Args:
        results: rows of Tables 7 and 8, as of `calm.ablations.run_ablations`.
    """
    shared = {"item": "claim 18", "dataset": "".join(results["dataset"].unique()[:1]), "split": "test", "variant": ""}
    shared["metric"] = "corr difference"
    rows = []
    for rollout, metric in ROLLOUTS.items():
        paired = pair_variants(results, metric)
        tests = {name: numbers(test) for name in CLAIMED if (test := compare_variants(paired, BASELINE, name))}
        for column in ("p", "p_sessions"):
            for test, value in zip(tests.values(), corrected([test[column] for test in tests.values()]), strict=True):
                test[column] = value
        judged = {f"CalM ({rollout}) over CalM {name}": tests.get(name) for name in CLAIMED}
        others = [name for name in CLAIMED if name != NO_SAMPLING]
        most = weakest(compare_variants(paired, other, NO_SAMPLING) for other in others)
        judged[f"CalM ({rollout}): scheduled sampling over every other part"] = most
        for name, test in judged.items():
            note = verdict(test) if can_hold(paired) else UNTESTED
            rows.append({**shared, "method": name, **(test or {}), "note": note})
    return pd.DataFrame(rows, columns=[*shared, "method", *NUMBERS, "note"])
