"""The statistics of the claims: differences of trials nested in sessions nested in mice, and Holm's correction."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind

LEVEL = 0.05
FEWEST_MICE = 3  # from which to speak of mice in general; the t test over two has one degree of freedom
FEWEST_NEURONS = 4  # for the interval of a correlation
NAN = float("nan")


@dataclasses.dataclass(frozen=True)
class Evidence:
    """An effect, its 95 % interval, and p values of three questions, each wider than the one before.

    Attributes:
        effect: the number that is tested.
        low: of the interval, which is that of the widest question that could be asked.
        high: of the interval.
        p: about these very sessions; NaN where that needs no test.
        p_sessions: about other sessions of these mice (of ablations: other trainings); NaN for a single one.
        p_mice: about other mice; NaN for fewer than FEWEST_MICE, and where a claim is not about mice.
        as_claimed: whether the effect is where the claim has it, significant or not.
    """

    effect: float
    low: float = NAN
    high: float = NAN
    p: float = NAN
    p_sessions: float = NAN
    p_mice: float = NAN
    as_claimed: bool = False


def t_test(values: Float[np.ndarray, " unit"] | pd.Series) -> tuple[float, float, float, float]:
    """Mean, 95 % interval and two-sided p of no difference from zero."""
    test = stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(1 - LEVEL)
    return float(np.mean(values)), float(interval.low), float(interval.high), float(test.pvalue)


def means_of_mice(sessions: pd.Series, mice: Mapping[str, str]) -> pd.Series:
    """Mean of each mouse over its sessions; none unless every mouse is known, and FEWEST_MICE of them.

    Args:
        sessions: a value each, by name of the session.
        mice: whose a session is, by its name.
    """
    whose = sessions.index.map(lambda session: mice.get(session, ""))
    means = sessions.groupby(whose).mean()
    return means.iloc[:0] if "" in means.index or len(means) < FEWEST_MICE else means


def paired_test(
    differences: pd.Series, mice: Mapping[str, str], *, margin: float = 0.0, nested_in: str = "session"
) -> Evidence | None:
    """Is the mean difference above -`margin`? None without differences that vary.

    The effect is the mean over sessions, or over mice where these are tested. Means of mice with a t test are the mixed
    model with nested groups where groups are of equal size; unlike that, they have an answer where mice differ no more
    than their sessions do. A session with a single trial has no error to estimate and is left out.

    Args:
        differences: one for each trial.
        mice: whose a session is, by its name; none where a claim is not about mice.
        nested_in: level of the index that tells the session of a trial.
    """
    shifted = differences.set_axis(differences.index.get_level_values(nested_in).astype(str)) + margin
    shifted = shifted[shifted.groupby(level=0).transform("size") > 1].astype(float)
    if shifted.empty or not np.ptp(shifted) > 0:
        return None
    means, p = shifted.groupby(level=0).mean(), sign_flip_p(shifted)
    by_mouse, p_sessions, p_mice = means_of_mice(means, mice), NAN, NAN
    effect, low, high, _ = t_test(shifted)
    if len(means) > 1:
        effect, low, high, p_sessions = t_test(means)
    if len(by_mouse):
        effect, low, high, p_mice = t_test(by_mouse)
    return Evidence(effect - margin, low - margin, high - margin, p, p_sessions, p_mice, as_claimed=effect > 0)


def sign_flip_p(differences: pd.Series) -> float:
    """Two-sided p of random sign flips of trials, whose index is their session; every session weighs the same."""
    weighted = (differences / differences.groupby(level=0).transform("size")).to_numpy()
    rng = np.random.default_rng(0)
    flips = stats.permutation_test((weighted,), np.sum, permutation_type="samples", vectorized=True, rng=rng)
    return float(flips.pvalue)


def varies(values: pd.Series) -> bool:
    """At least two values that differ: otherwise there is no error to estimate."""
    return bool(len(values) > 1 and values.std() > 0)


def level_test(sessions: pd.Series, mice: Mapping[str, str], floor: float) -> Evidence | None:
    """Is the mean over sessions above a floor (one-sided t test)? See `means_of_mice` for the arguments."""
    if sessions.empty:
        return None
    test = Evidence(float(sessions.mean()), as_claimed=bool(sessions.mean() > floor))
    for name, values in (("p_sessions", sessions), ("p_mice", means_of_mice(sessions, mice))):
        if varies(values):
            each = DescrStatsW(values)
            low, high = each.tconfint_mean(LEVEL)
            p = float(each.ttest_mean(floor, alternative="larger")[1])
            test = dataclasses.replace(test, effect=float(values.mean()), low=low, high=high, **{name: p})
    return test


def equality_test(first: pd.Series, second: pd.Series, mice: Mapping[str, str], margin: float) -> Evidence | None:
    """Is the mean of the first within `margin` of that of the second? Two one-sided Welch tests."""
    if first.empty or second.empty:
        return None
    effect = float(first.mean() - second.mean())
    test = Evidence(effect, as_claimed=abs(effect) < margin)
    by_mouse = means_of_mice(first, mice), means_of_mice(second, mice)
    for name, (one, other) in (("p_sessions", (first, second)), ("p_mice", by_mouse)):
        if varies(one) and varies(other):
            both = CompareMeans(DescrStatsW(one), DescrStatsW(other))
            low, high = both.tconfint_diff(LEVEL, usevar="unequal")
            p = float(ttost_ind(one, other, -margin, margin, usevar="unequal")[0])
            effect = float(one.mean() - other.mean())
            test = dataclasses.replace(test, effect=effect, low=low, high=high, **{name: p})
    return test


def least_sure(tests: Sequence[Evidence | None]) -> Evidence | None:
    """Being above all others is as sure as the least sure of the comparisons, which needs no correction."""
    if None in tests or not tests:
        return None
    smallest = min(tests, key=lambda test: test.effect)
    p_values = {name: float(np.max([getattr(test, name) for test in tests])) for name in ("p", "p_sessions")}
    return dataclasses.replace(smallest, **p_values)


def fisher_interval(correlation: float, count: int) -> tuple[float, float]:
    """95 % interval of a Pearson correlation over `count` neurons; unknown below FEWEST_NEURONS."""
    if count < FEWEST_NEURONS:
        return NAN, NAN
    half = stats.norm.ppf(1 - LEVEL / 2) / np.sqrt(count - 3)
    return float(np.tanh(np.arctanh(correlation) - half)), float(np.tanh(np.arctanh(correlation) + half))


def proportion_interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count`."""
    return proportion_confint(round(share * count), count, alpha=LEVEL, method="wilson")


def holm(p_values: Sequence[float]) -> list[float]:
    """p values after Holm's correction; unknown ones (NaN) stay so, and the others are corrected among themselves."""
    corrected = np.array(p_values, float)
    known = np.flatnonzero(np.isfinite(corrected))
    ranked = known[np.argsort(corrected[known])]
    # By hand: that of statsmodels collects garbage at every call, which made half of the time of a report.
    steps = corrected[ranked] * (len(ranked) - np.arange(len(ranked)))
    corrected[ranked] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected.tolist()


def permutation_p(draws: Float[np.ndarray, " draw"]) -> float:
    """Exact one-sided p value of draw 0 among all: (1 + shuffles that reach it) / (1 + shuffles)."""
    return float(np.mean(draws >= draws[0]))
