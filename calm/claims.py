"""The paper's claims as statistical tests; so far claim 2, forecasting on simulation (section 6.2, Fig. 3B)."""

import dataclasses
import warnings
from collections.abc import Sequence

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
HOLDS, FAILS, UNTESTED = "holds", "does not hold", "cannot be tested here"


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Mean of paired differences, its 95 % interval, and the two-sided p value of no difference."""

    effect: float
    low: float
    high: float
    p: float


def paired_claim(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> PairedTest:
    """Test whether paired differences are zero on average, trials being nested in sessions (`groups`).

    Several sessions: a linear mixed model with a random intercept per session. One session: sign-flip permutations and
    a t interval, which speak about the trials of that session only. Needs what `is_testable` asks for.
    """
    return nested_test(differences, groups) if len(set(groups)) > 1 else flip_test(differences)


def is_testable(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> bool:
    """At least two trials in every session, and differences that vary: otherwise there is no error to estimate."""
    return bool(pd.Series(groups).value_counts().min() > 1 and np.ptp(differences) > 0)


def nested_test(differences: Float[np.ndarray, " trial"], groups: Sequence[str]) -> PairedTest:
    """Intercept of a mixed model, against t with (sessions - 1) degrees of freedom.

    The normal distribution that statsmodels takes is for many groups: with three sessions it claims far too much.
    """
    data = pd.DataFrame({"difference": differences, "session": list(groups)})
    with warnings.catch_warnings():
        # Sessions that differ no more than their trials do put the variance at its bound, 0: a result, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SingularMatrixWarning)
        fit = smf.mixedlm("difference ~ 1", data, groups="session").fit()
    effect, error = float(fit.fe_params["Intercept"]), float(fit.bse_fe["Intercept"])
    reference = stats.t(df=len(set(groups)) - 1)
    margin = reference.ppf(1 - LEVEL / 2) * error
    return PairedTest(effect, effect - margin, effect + margin, float(2 * reference.sf(abs(effect) / error)))


def flip_test(differences: Float[np.ndarray, " trial"]) -> PairedTest:
    """Random sign flips for the p value, Student's t for the interval."""
    interval = stats.ttest_1samp(differences, 0).confidence_interval(1 - LEVEL)
    flips = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, rng=np.random.default_rng(0)
    )
    return PairedTest(float(differences.mean()), float(interval.low), float(interval.high), float(flips.pvalue))


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
    """Claim 2, one row per other method: effect (`ours`), interval, Holm-corrected p and verdict (`note`).

    Args:
        trials: per-trial results, as `fig3b_trials`.
    """
    paired, variant = pair_trials(trials)
    tests = compare_methods(paired)
    corrected = multipletests([test.p for test in tests.values()], method="holm")[1] if tests else []
    known = {
        method: {"ours": test.effect, "low": test.low, "high": test.high, "p": p, "note": verdict(test.effect, p)}
        for (method, test), p in zip(tests.items(), corrected, strict=True)
    }
    methods = dict.fromkeys([*RIVALS, *paired.columns.drop("CalM", errors="ignore")])
    calm = f"CalM ({variant})" if variant else "CalM"
    shared = {"item": "claim 2", "dataset": "simulation", "split": "test", "variant": "", "metric": "corr difference"}
    untested = {"note": UNTESTED}
    return pd.DataFrame(
        [{**shared, "method": f"{calm} over {method}", **known.get(method, untested)} for method in methods],
        columns=["item", "dataset", "split", "method", "variant", "metric", "ours", "low", "high", "p", "note"],
    )


def verdict(effect: float, p: float) -> str:
    """A claim of being better holds if the difference is positive and significant."""
    return HOLDS if effect > 0 and p < LEVEL else FAILS
