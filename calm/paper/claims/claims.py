"""The paper's claims as statistical tests: what all share, and claims 2 to 4, forecasting (section 6.2, Fig. 3)."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.multitest import multipletests

RIVALS = ("TCN", "PatchTST", "iTransformer", "POCO")  # the methods that the paper's claims 2 and 3 name
LEVEL = 0.05
MARGIN = 0.02  # of correlation, by which a competitive method may be worse; the paper gives none
COLUMNS = (
    *("item", "dataset", "split", "variant", "metric", "method", "ours", "low", "high", "p", "p_sessions", "note"),
)
HOLDS, HOLDS_HERE = "holds", "holds for these sessions"
FAILS, UNTESTED = "does not hold", "cannot be tested here"


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Mean of paired differences over sessions, its 95 % interval, and two-sided p values of no difference.

    `p` is about the trials of these very sessions, `p_sessions` about sessions like them (NaN for a single one). The
    interval is that of the wider question that could be asked.
    """

    effect: float
    low: float
    high: float
    p: float
    p_sessions: float


def paired_claim(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> PairedTest:
    """Test whether paired differences are zero on average, trials being nested in sessions (`groups`).

    Needs what `is_testable` asks for.
    """
    p = flip_test(differences, groups)
    if len(set(groups)) > 1:
        effect, low, high, p_sessions = session_test(differences, groups)
        return PairedTest(effect, low, high, p, p_sessions)
    interval = stats.ttest_1samp(differences, 0).confidence_interval(1 - LEVEL)
    return PairedTest(float(differences.mean()), float(interval.low), float(interval.high), p, float("nan"))


def is_testable(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> bool:
    """At least two trials in every session, and differences that vary: otherwise there is no error to estimate."""
    return bool(pd.Series(groups).value_counts().min() > 1 and np.ptp(differences) > 0)


def session_test(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> tuple[float, float, float, float]:
    """t test over the means of the sessions: effect, interval, and p with (sessions - 1) degrees of freedom.

    With equally many trials a session this is the mixed model with session as group; unlike that, it has an answer
    where sessions differ no more than their trials do.
    """
    means = pd.Series(differences).groupby(list(groups)).mean()
    test = stats.ttest_1samp(means, 0)
    interval = test.confidence_interval(1 - LEVEL)
    return float(means.mean()), float(interval.low), float(interval.high), float(test.pvalue)


def flip_test(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> float:
    """p value of random sign flips of the trials; every session weighs the same."""
    sizes = pd.Series(groups).map(pd.Series(groups).value_counts()).to_numpy()
    weighted = differences / sizes
    flips = stats.permutation_test(
        (weighted,), np.sum, permutation_type="samples", vectorized=True, rng=np.random.default_rng(0)
    )
    return float(flips.pvalue)


def chosen_variant(trials: pd.DataFrame) -> str | None:
    """The way to roll out that stands for CalM in its claims: the one with the best mean on validation trials."""
    scores = trials.query("method == 'CalM' and split == 'val'").groupby("variant")["value"].mean()
    return None if scores.empty else str(scores.idxmax())


def pair_trials(trials: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Test-trial correlations, a row per (session, trial), a column per method; and CalM's variant.

    Seeds of a trial are averaged; ceilings know what no method may know and take no part.
    """
    rows = trials.query("metric == 'corr' and method != 'ceiling'")
    variant = chosen_variant(rows)
    rows = rows[(rows["split"] == "test") & ((rows["method"] != "CalM") | (rows["variant"] == variant))]
    return rows.pivot_table(index=["session", "trial"], columns="method", values="value"), variant


def compare(
    paired: pd.DataFrame, ours: Hashable, theirs: Hashable, *, group: str = "session", margin: float = 0.0
) -> PairedTest | None:
    """One column minus another, plus a margin, on the rows that both have; None where that cannot be tested.

    `group` is the level of the index that rows are nested in.
    """
    if ours not in paired.columns or theirs not in paired.columns:
        return None
    both = paired[[ours, theirs]].dropna()
    differences = (both[ours] - both[theirs] + margin).to_numpy(dtype=float)
    groups = list(both.index.get_level_values(group).astype(str))
    return paired_claim(differences, groups) if len(both) and is_testable(differences, groups) else None


def compare_methods(paired: pd.DataFrame, margin: float = 0.0) -> dict[str, PairedTest]:
    """CalM, plus a margin, minus each other method on the trials that both forecast, where that can be tested."""
    others = paired.columns.drop("CalM", errors="ignore")
    return {method: test for method in others if (test := compare(paired, "CalM", method, margin=margin))}


def judge_claim_2(trials: pd.DataFrame) -> pd.DataFrame:
    """Claim 2: on simulation CalM forecasts better than every other method; `trials` as in `fig3b_trials`."""
    return judge_better(trials, "claim 2")


def judge_claim_3(trials: pd.DataFrame) -> pd.DataFrame:
    """Claim 3: the same for models of single recordings; `trials` as in `fig3c_trials`."""
    return judge_better(trials, "claim 3")


def judge_better(trials: pd.DataFrame, item: str) -> pd.DataFrame:
    """Is CalM better? One row per other method: effect (`ours`), interval, Holm-corrected p and verdict (`note`)."""
    paired, variant = pair_trials(trials)
    tests = compare_methods(paired)
    calm = f"CalM ({variant})" if variant else "CalM"
    names = list(dict.fromkeys([*RIVALS, *paired.columns.drop("CalM", errors="ignore")]))
    found = judged([tests.get(name) for name in names])
    rows = [{"method": f"{calm} over {name}", **row} for name, row in zip(names, found, strict=True)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(**claim_keys(trials, item))


def judge_claim_4(trials: pd.DataFrame) -> pd.DataFrame:
    """Claim 4: on many sessions CalM is competitive with POCO, held-in and held-out; `trials` as in `fig3d_trials`.

    Competitive is taken to be not worse by `MARGIN`: p is that of a CalM which is worse by just so much.
    """
    variant = chosen_variant(trials)
    shown = trials[(trials["method"] == "POCO") | ((trials["method"] == "CalM") & (trials["variant"] == variant))]
    rows = []
    for group in ("held-in", "held-out"):
        test = compare_methods(pair_trials(shown[shown["group"] == group])[0], margin=MARGIN).get("POCO")
        found = None if test is None else numbers(test)
        rows.append({"method": f"CalM ({variant}) over POCO, {group}", **(found or {}), "note": verdict(found)})
    claims = pd.DataFrame(rows, columns=list(COLUMNS)).assign(**claim_keys(trials, "claim 4"))
    return claims.assign(**{column: claims[column].astype(float) - MARGIN for column in ("ours", "low", "high")})


def numbers(test: PairedTest) -> dict[str, float]:
    """A test in the columns of a claim."""
    effect = {"ours": test.effect, "low": test.low, "high": test.high}
    return {**effect, "p": test.p, "p_sessions": test.p_sessions}


def judged(tests: Sequence[PairedTest | None]) -> list[dict[str, str | float]]:
    """Numbers and verdict (`note`) of each test, in the columns of a claim; p after Holm over those that were made."""
    made = [test for test in tests if test is not None]
    p, p_sessions = (iter(corrected([getattr(test, name) for test in made])) for name in ("p", "p_sessions"))
    rows = []
    for test in tests:
        found = None if test is None else {**numbers(test), "p": next(p), "p_sessions": next(p_sessions)}
        rows.append({**(found or {}), "note": verdict(found)})
    return rows


def claim_keys(trials: pd.DataFrame, item: str) -> dict[str, str]:
    """What the rows of a claim about forecasts have in common."""
    dataset = ", ".join(dict.fromkeys(trials["dataset"]))
    return {"item": item, "dataset": dataset, "split": "test", "variant": "", "metric": "corr difference"}


def corrected(values: list[float]) -> list[float]:
    """p values after Holm; with a single session those about sessions are NaN and stay so."""
    return multipletests(values, method="holm")[1].tolist() if values and np.isfinite(values).all() else values


def verdict(test: Mapping[str, float] | None) -> str:
    """A claim of being better holds if the difference is positive and significant: over sessions, or for these only."""
    if test is None:
        return UNTESTED
    if test["ours"] <= 0 or test["p"] >= LEVEL:
        return FAILS
    return HOLDS if test["p_sessions"] < LEVEL else HOLDS_HERE
