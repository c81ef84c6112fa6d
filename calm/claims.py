"""The paper's claims as statistical tests; so far claim 2, forecasting on simulation (section 6.2, Fig. 3B)."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.tools.sm_exceptions import ConvergenceWarning, SingularMatrixWarning

CLAIM_2 = "On simulation, CalM forecasts better than every other method (claim 2)."
RIVALS = ("TCN", "PatchTST", "iTransformer", "POCO")  # the methods that the paper's claim 2 names
LEVEL = 0.05
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
        effect, low, high, p_sessions = nested_test(differences, groups)
        return PairedTest(effect, low, high, p, p_sessions)
    interval = stats.ttest_1samp(differences, 0).confidence_interval(1 - LEVEL)
    return PairedTest(float(differences.mean()), float(interval.low), float(interval.high), p, float("nan"))


def is_testable(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> bool:
    """At least two trials in every session, and differences that vary: otherwise there is no error to estimate."""
    return bool(pd.Series(groups).value_counts().min() > 1 and np.ptp(differences) > 0)


def nested_test(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> tuple[float, float, float, float]:
    """Intercept of a mixed model with session as group: effect, interval, and p against t with (sessions - 1) degrees.

    The normal distribution that statsmodels takes is for many groups: with three sessions it claims far too much.
    """
    data = pd.DataFrame({"difference": differences, "session": list(groups)})
    with warnings.catch_warnings():
        # Sessions that differ no more than their trials do put the variance at its bound, 0: a result, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SingularMatrixWarning)
        # By gradients, the default, one fit in ten ends nowhere where that variance is small (p = 1 for anything).
        fit = smf.mixedlm("difference ~ 1", data, groups="session").fit(method="powell")
    effect, error = float(fit.fe_params["Intercept"]), float(fit.bse_fe["Intercept"])
    reference = stats.t(df=len(set(groups)) - 1)
    margin = reference.ppf(1 - LEVEL / 2) * error
    return effect, effect - margin, effect + margin, float(2 * reference.sf(abs(effect) / error))


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
    """Test-trial correlations on simulation, a row per (session, trial), a column per method; and CalM's variant.

    Seeds of a trial are averaged; ceilings know what no method may know and take no part.
    """
    rows = trials.query("dataset == 'simulation' and metric == 'corr' and method != 'ceiling'")
    variant = chosen_variant(rows)
    rows = rows[(rows["split"] == "test") & ((rows["method"] != "CalM") | (rows["variant"] == variant))]
    return rows.pivot_table(index=["session", "trial"], columns="method", values="value"), variant


def compare_methods(paired: pd.DataFrame) -> dict[str, PairedTest]:
    """CalM minus each other method on the trials that both forecast, where that can be tested."""
    tests = {}
    for method in paired.columns.drop("CalM", errors="ignore") if "CalM" in paired else []:
        both = paired[["CalM", method]].dropna()
        differences, sessions = (both["CalM"] - both[method]).to_numpy(), list(both.index.get_level_values("session"))
        if is_testable(differences, sessions):
            tests[method] = paired_claim(differences, sessions)
    return tests


def judge_claim_2(trials: pd.DataFrame) -> pd.DataFrame:
    """Claim 2, one row per other method: effect (`ours`), interval, Holm-corrected p values and verdict (`note`).

    Args:
        trials: per-trial results, as `fig3b_trials`.
    """
    paired, variant = pair_trials(trials)
    tests = compare_methods(paired)
    shared = {"item": "claim 2", "dataset": "simulation", "split": "test", "variant": "", "metric": "corr difference"}
    calm = f"CalM ({variant})" if variant else "CalM"
    known = {
        method: {"ours": test.effect, "low": test.low, "high": test.high, "p": p, "p_sessions": p_sessions}
        for (method, test), p, p_sessions in zip(
            tests.items(),
            corrected([test.p for test in tests.values()]),
            corrected([test.p_sessions for test in tests.values()]),
            strict=True,
        )
    }
    rows = [
        {**shared, "method": f"{calm} over {method}", **known.get(method, {}), "note": verdict(known.get(method))}
        for method in dict.fromkeys([*RIVALS, *paired.columns.drop("CalM", errors="ignore")])
    ]
    return pd.DataFrame(rows, columns=[*shared, "method", "ours", "low", "high", "p", "p_sessions", "note"])


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
