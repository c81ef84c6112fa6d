"""Claims 10-17 of the paper as statistical tests: embeddings and low-dimensional dynamics (section 6.4, App. E)."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from calm.paper.claims.claims import (
    COLUMNS,
    FAILS,
    HOLDS,
    HOLDS_HERE,
    LEVEL,
    UNTESTED,
    PairedTest,
    compare_methods,
    judged,
)
from calm.paper.embeddings.dynamics_scores import COMPONENT_CORR, NEURON_CORR, OTHERS_CORR
from calm.paper.embeddings.embedding_rows import (
    ALL,
    ANGLE,
    EACH_SESSION,
    IN_SAMPLE,
    ITEMS,
    LEFT_OUT,
    RESAMPLED,
    SHUFFLED,
    TUNING_CORR,
)
from calm.paper.embeddings.label_scores import NEURON, SESSION
from calm.paper.embeddings.shuffles import permutation_p
from calm.paper.embeddings.tuning import CHOICE, CUE, LABELS
from calm.paper.results import read_item

MARGIN = 15.0  # degrees from a right angle; the paper does not say what "about orthogonal" means
HARDLY = 0.1  # accuracy above shuffled labels; the paper does not say what "hardly" means
FEWEST_SESSIONS = 8  # whose labels can be shuffled in so many ways that a good outcome is rare by chance
FEWEST_NEURONS = 4  # for the interval of a correlation
OTHERS, SINGLE = "forecasts for other trials", "single neurons"

Tables = Mapping[str, pd.DataFrame]  # by item
Tests = dict[str, PairedTest | None]  # by what is compared; None where that is not known


def judge_embedding_claims(figures: Path) -> pd.DataFrame | None:
    """Claims 10 to 17 from the results tables of notebooks 06 and 07: effect (`ours`), interval, p values, verdict.

    `p` is about these very sessions, by shuffled labels or trials; `p_sessions` about sessions like them. Both are
    after Holm over what a claim compares. What has no results cannot be tested here; with none at all, None.
    """
    files = [path for pattern in ("fig[578]*.csv", "table9*.csv") for path in sorted(figures.glob(pattern))]
    tables = {path.stem: read_item(path) for path in files}
    if not tables:
        return None
    found = [*(judge_tuning(tables, group) for group in ITEMS), judge_dynamics(tables), judge_labels(tables)]
    return pd.concat(found, ignore_index=True)[list(COLUMNS)]


def judge_tuning(tables: Tables, group: str) -> pd.DataFrame:
    """Claims 10 to 13 of held-in sessions; of held-out ones, all of it is claim 14."""
    items, names = ITEMS[group], variables(tables)
    shuffles = dict(zip(names, items.shuffles, strict=True))
    principal = {
        f"PCA plane, preferred {name}": left_out_test(tables, items.principal, f"{items.principal}_null", name)
        for name in names
    }
    discriminant = {
        f"LDA axis of {name}": left_out_test(tables, items.discriminant, item, name) for name, item in shuffles.items()
    }
    beyond = {f"LDA axis of {name} over {SHUFFLED}": beyond_test(tables, item, name) for name, item in shuffles.items()}
    orthogonal = angle_test(tables, f"{items.discriminant}_angles")
    rows = [
        *claim_rows("claim 10", "corr, left-out neurons", principal),
        *claim_rows("claim 11", "corr, left-out neurons", discriminant),
        angle_row(f"LDA axes of {' and '.join(names)}", orthogonal, claim_rows("claim 13", "", beyond)),
        *claim_rows("claim 13", "corr difference", beyond),
    ]
    table = pd.DataFrame(rows).assign(dataset=dataset_of(tables, "fig5"), split=ALL, variant=group)
    return table if group == "held-in" else table.assign(item="claim 14")


def variables(tables: Tables) -> list[str]:
    """The two variables that were studied; the paper's where none were."""
    studied = [tables[item]["variant"].iloc[0].split(", ")[0] for item in ("fig7a", "fig7b") if item in tables]
    return studied if len(studied) == 2 else [CUE.name, CHOICE.name]


def dataset_of(tables: Tables, item: str) -> str:
    """Dataset of the tables whose names begin with `item`; none where there are none."""
    return next((str(table["dataset"].iloc[0]) for name, table in tables.items() if name.startswith(item)), "")


def draws_of(tables: Tables, item: str, variant: str, metric: str) -> Float[np.ndarray, " draw"]:
    """A statistic in all draws, observed first; empty where there are no results."""
    if item not in tables:
        return np.empty(0)
    rows = tables[item]
    return rows[(rows["variant"] == variant) & (rows["metric"] == metric)].sort_values("draw")["value"].to_numpy(float)


def fisher_interval(correlation: float, count: int) -> tuple[float, float]:
    """95 % interval of a Pearson correlation over `count` neurons; unknown below FEWEST_NEURONS."""
    if count < FEWEST_NEURONS:
        return float("nan"), float("nan")
    margin = stats.norm.ppf(1 - LEVEL / 2) / np.sqrt(count - 3)
    return tuple(float(np.tanh(np.arctanh(correlation) + side * margin)) for side in (-1, 1))


def left_out_test(tables: Tables, statistics: str, shuffles: str, name: str) -> PairedTest | None:
    """Correlation of left-out neurons with their tuning: against shuffled labels, and over sessions (t test)."""
    draws = draws_of(tables, shuffles, f"{name}, {LEFT_OUT}", TUNING_CORR)
    if not len(draws):
        return None
    rows, count = tables[statistics], int(tables[shuffles]["n"].iloc[0])
    each = rows[(rows["variant"] == f"{name}, {EACH_SESSION}") & (rows["metric"] == TUNING_CORR)]["value"].astype(float)
    p_sessions = float(stats.ttest_1samp(each, 0).pvalue) if len(each) > 1 else float("nan")
    return PairedTest(float(draws[0]), *fisher_interval(draws[0], count), permutation_p(draws), p_sessions)


def beyond_test(tables: Tables, item: str, name: str) -> PairedTest | None:
    """In-sample correlation, as the authors have it, less the mean of that with shuffled labels."""
    draws = draws_of(tables, item, f"{name}, {IN_SAMPLE}", TUNING_CORR)
    if len(draws) < 2:
        return None
    chance, count = draws[1:].mean(), int(tables[item]["n"].iloc[0])
    low, high = (bound - chance for bound in fisher_interval(draws[0], count))
    return PairedTest(float(draws[0] - chance), low, high, permutation_p(draws), float("nan"))


def angle_test(tables: Tables, item: str) -> PairedTest | None:
    """Angle with the interval of resampled neurons; p is that of shuffled labels being as close to a right angle."""
    shuffled, resampled = (draws_of(tables, item, variant, ANGLE) for variant in (SHUFFLED, RESAMPLED))
    if not len(shuffled):
        return None
    low, high = np.percentile(resampled[1:], [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)])
    p = permutation_p(-np.abs(shuffled - 90))
    return PairedTest(float(shuffled[0]), float(low), float(high), p, float("nan"))


def angle_row(method: str, test: PairedTest | None, gradients: list[dict[str, object]]) -> dict[str, object]:
    """Claim 12 holds if the whole interval is near a right angle, fails if all of it is away, else remains open.

    Without gradients (claim 13) their angle says nothing.
    """
    (row,) = claim_rows("claim 12", "degrees", {method: test})
    there = all(gradient["note"] in (HOLDS, HOLDS_HERE) for gradient in gradients)
    note = UNTESTED
    if there and test is not None:
        away = max(90 - test.high, test.low - 90, 0)
        near = max(90 - test.low, test.high - 90) <= MARGIN
        note = HOLDS_HERE if near else FAILS if away > MARGIN else UNTESTED
    return {**row, "note": note}


def claim_rows(claim: str, metric: str, tests: Tests) -> list[dict[str, object]]:
    """A row for each test, Holm-corrected over those that could be done, with its verdict."""
    unknown = dict.fromkeys(("ours", "low", "high", "p", "p_sessions"), float("nan"))
    found = zip(tests, judged(list(tests.values())), strict=True)
    return [{"item": claim, "metric": metric, "method": method, **unknown, **row} for method, row in found]


def judge_dynamics(tables: Tables) -> pd.DataFrame:
    """Claims 15 and 16, for held-in and held-out sessions."""
    rows = []
    for group in ITEMS:
        paired, variant = pair_dynamics(tables, group)
        calm = f"CalM ({variant})" if variant else "CalM"
        tests = compare_methods(paired.drop(columns=SINGLE, errors="ignore"))
        shuffled = draws_of(tables, "fig5c_shuffles", ", ".join(filter(None, (variant, group))), COMPONENT_CORR)
        if OTHERS in tests:
            tests[OTHERS] = dataclasses.replace(tests[OTHERS], p=permutation_p(shuffled))
        rivals = dict.fromkeys(["POCO", OTHERS, *tests])
        against = {f"{calm} over {rival}": tests.get(rival) for rival in rivals}
        single = compare_methods(paired[paired.columns.intersection(["CalM", SINGLE])]).get(SINGLE)
        found = [
            *claim_rows("claim 15", "corr difference", against),
            *claim_rows("claim 16", "corr difference", {f"{calm}, components over {SINGLE}": single}),
        ]
        rows += [{**row, "variant": group} for row in found]
    return pd.DataFrame(rows).assign(dataset=dataset_of(tables, "fig5c"), split="test")


def pair_dynamics(tables: Tables, group: str) -> tuple[pd.DataFrame, str]:
    """Correlation along components, a row per (session, trial), a column per method; and CalM's variant.

    Further columns are CalM's correlation with what happens in other trials, and of single neurons. A session with a
    single trial has nothing to estimate an error from and is left out.
    """
    if "fig5c_trials" not in tables:
        return pd.DataFrame(), ""
    rows = tables["fig5c_trials"]
    rows = rows[rows["variant"].str.endswith(group)]
    calm = rows[rows["method"] == "CalM"]
    columns = {OTHERS: calm[calm["metric"] == OTHERS_CORR], SINGLE: calm[calm["metric"] == NEURON_CORR]}
    parts = [rows[rows["metric"] == COMPONENT_CORR], *(part.assign(method=name) for name, part in columns.items())]
    paired = pd.concat(parts).pivot_table(index=["session", "trial"], columns="method", values="value")
    paired = paired[paired.groupby("session")["CalM"].transform("count") > 1] if "CalM" in paired else paired
    return paired, "" if calm.empty else calm["variant"].iloc[0].removesuffix(group).removesuffix(", ")


def judge_labels(tables: Tables) -> pd.DataFrame:
    """Claim 17: accuracy less that with shuffled labels, of session embeddings, and of neuron embeddings."""
    held = {f"session embedding, {label}": session_label_test(tables, label) for label in LABELS}
    hardly = {f"neuron embedding, {label}, at most {HARDLY}": neuron_label_test(tables, label) for label in LABELS}
    rows = claim_rows("claim 17", "accuracy difference", held)
    for row in claim_rows("claim 17", "accuracy difference", hardly):
        open_ = not np.isfinite(row["high"]) or row["low"] <= HARDLY < row["high"]
        note = UNTESTED if open_ else HOLDS if row["high"] <= HARDLY else FAILS
        rows.append({**row, "note": note})
    return pd.DataFrame(rows).assign(dataset=dataset_of(tables, "table9"), split=ALL, variant="held-in")


def session_label_test(tables: Tables, label: str) -> PairedTest | None:
    """Accuracy of the label of left-out sessions; labels are shuffled among sessions, so that p is about sessions."""
    draws = draws_of(tables, "table9_shuffles", SESSION, f"accuracy {label}")
    if len(draws) < 2:
        return None
    rows = tables["table9_shuffles"]
    count = int(rows[(rows["variant"] == SESSION) & (rows["metric"] == f"accuracy {label}")]["n"].iloc[0])
    if count < FEWEST_SESSIONS:
        return None
    low, high = proportion_confint(round(draws[0] * count), count, alpha=LEVEL, method="wilson")
    p, chance = permutation_p(draws), draws[1:].mean()
    return PairedTest(float(draws[0] - chance), float(low - chance), float(high - chance), p, p)


def neuron_label_test(tables: Tables, label: str) -> PairedTest | None:
    """Accuracy of the label of left-out neurons, mean over sessions with a t interval."""
    draws = draws_of(tables, "table9_shuffles", NEURON, f"accuracy {label}")
    if len(draws) < 2:
        return None
    rows = tables["table9_predictions"]
    rows = rows[(rows["variant"] == NEURON) & (rows["metric"] == f"count {label}")]
    right = rows["value"].astype(float) * (rows["true"] == rows["predicted"])
    each = right.groupby(rows["session"]).sum() / rows["value"].astype(float).groupby(rows["session"]).sum()
    beyond = each - draws[1:].mean()
    interval = stats.ttest_1samp(beyond, 0)
    low, high = interval.confidence_interval(1 - LEVEL)
    return PairedTest(float(beyond.mean()), float(low), float(high), permutation_p(draws), float(interval.pvalue))
