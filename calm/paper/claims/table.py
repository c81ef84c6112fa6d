"""The paper's 18 claims: what each says, what is compared to test it, with which margin; and the verdicts."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from calm.paper.claims import comparisons as by_trial
from calm.paper.claims import embedding_comparisons as embeddings
from calm.paper.claims.comparisons import (
    FAILS,
    GROUPS,
    HOLDS,
    HOLDS_FOR_MICE,
    HOLDS_FOR_SESSIONS,
    UNTESTED,
    Comparison,
    Mice,
    Tables,
    correct,
    significance,
)

IN_PART, BY_CONSTRUCTION = "holds in part", "holds by construction"
FORECASTERS, DECODERS = ("TCN", "PatchTST", "iTransformer", "POCO"), ("GLM", "RRR", "TCN", "POYO+")
PARTS = (
    *("without AR loss", "without Gumbel", "without orthogonality"),
    *("without scheduled sampling", "without neighbourhood replacement"),
)
NUMBERS = ("ours", "low", "high", "p", "p_sessions", "p_mice")
COLUMNS = ("item", "dataset", "group", "variant", "metric", "method", *NUMBERS, "counts", "note", "needs")
Test = Callable[[Tables, Mice], Sequence[Comparison]]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        number: its place in the list.
        statement: what is claimed.
        section: of the paper.
        item: whose results test it.
        tests: what is compared; the comparisons of each test are corrected together (Holm).
        about_mice: whether it is about mice like these, or about sessions like these of whatever mouse.
        how: what a reader of its tests has to know.
        construction: why it holds without any test, if it does.
    """

    number: int
    statement: str
    section: str
    item: str
    tests: tuple[Test, ...] = ()
    about_mice: bool = False
    how: str = ""
    construction: str = ""

    @property
    def name(self) -> str:
        """As the column `item` of its tests says."""
        return f"claim {self.number}"


BETTER = "Differences in per-trial correlation, paired over the test trials. p: sign flips of the trials."
COMPETITIVE = 0.02  # of correlation, by which a competitive forecaster may be worse; the paper gives no margin
COMPETITIVE_DECODER = 0.05  # of R2, by which a competitive decoder may be worse; the paper gives no margin
FAITHFUL, EQUAL = 0.9, 0.02  # correlation of reconstructions, and their difference; the paper gives no number
ORTHOGONAL = 15.0  # degrees from a right angle; the paper does not say what "about orthogonal" means
HARDLY = 0.1  # accuracy above shuffled labels; the paper does not say what "hardly" means
FEWEST_SESSIONS = 5  # of each mouse, area or layer: one for each fold of the paper's cross-validation
PLANE, AXIS = "PCA plane, preferred {}", "LDA axis of {}"
HELD_IN = {"shuffles": ("fig7a", "fig7b"), "group": "held-in"}
HELD_OUT = {"shuffles": ("fig8c", "fig8c"), "group": "held-out"}
LABELS = {"labels": ("mouse", "area", "layer"), "fewest": FEWEST_SESSIONS}
ROLLOUTS = {"expected": "corr", "greedy": "corr, greedy"}
ABLATIONS = tuple(
    partial(test, items=("table7", "table8"), metric=metric, rollout=rollout, parts=PARTS)
    for rollout, metric in ROLLOUTS.items()
    for test in (by_trial.helps, partial(by_trial.helps_most, most="without scheduled sampling"))
)

CLAIMS = (
    Claim(
        1,
        "Tokens keep a trace faithfully, and equally well for mice that the quantizer never saw.",
        "6.1",
        "fig1b",
        (partial(by_trial.faithful, item="fig1b", floor=FAITHFUL, margin=EQUAL),),
        about_mice=True,
        how=f"Faithful is taken to be a correlation above {FAITHFUL}, equally well a difference within {EQUAL} (two"
        " one-sided tests); the paper gives no bounds.",
    ),
    Claim(
        2,
        "On simulated networks CalM forecasts better than TCN, PatchTST, iTransformer and POCO.",
        "6.2",
        "fig3b",
        (partial(by_trial.better, item="fig3b_trials", rivals=FORECASTERS, others=True),),
        how=BETTER,
    ),
    Claim(
        3,
        "Trained on a single recording, CalM forecasts better than the same four.",
        "6.2",
        "fig3c",
        (partial(by_trial.better, item="fig3c_trials", rivals=FORECASTERS, others=True),),
        how=BETTER,
    ),
    Claim(
        4,
        "Trained on many recordings, CalM is competitive with POCO, on held-in and on held-out mice.",
        "6.2",
        "fig3d",
        (partial(by_trial.better, item="fig3d_trials", rivals=("POCO",), groups=GROUPS, margin=COMPETITIVE),),
        about_mice=True,
        how=f"Competitive is taken to be not worse by {COMPETITIVE} in correlation; the paper gives no margin. p: of a"
        " CalM that is worse by just so much.",
    ),
    Claim(
        5,
        "CalM forecasts any number of frames; POCO's number is fixed.",
        "6.2",
        "fig3d",
        construction="Nothing is measured. CalM adds one token after another, for as long as one likes; the last layer"
        " of POCO has one output for each frame of its horizon.",
    ),
    Claim(
        6,
        "On single recordings the GLU head decodes behaviour better than GLM, RRR, TCN and POYO+, yaw excepted.",
        "6.3",
        "fig4b",
        tuple(
            partial(by_trial.decodes_better, item="fig4b_trials", rivals=DECODERS, excepted="r2 yaw", claimed=claimed)
            for claimed in (True, False)
        ),
    ),
    Claim(
        7,
        "There, the linear head is competitive with them.",
        "6.3",
        "fig4b",
        (partial(by_trial.near_best, item="fig4b_trials", rivals=DECODERS, margin=COMPETITIVE_DECODER),),
        how=f"Competitive is taken to be less than {COMPETITIVE_DECODER} of R² below the best other decoder, which is"
        " chosen on validation trials; the paper gives no margin. p: of a head that is worse by just so much.",
    ),
    Claim(
        8,
        "Trained on many recordings, the GLU head is 10.1 % above POYO+ on held-in mice, and 20.9 % on yaw.",
        "6.3",
        "fig4c",
        tuple(
            partial(
                by_trial.gain,
                item="fig4c_trials",
                rival="POYO+",
                metrics=("r2", "r2 yaw"),
                group="held-in",
                relative=relative,
            )
            for relative in (False, True)
        ),
        about_mice=True,
    ),
    Claim(
        9,
        "And 7.2 % above POYO+ on held-out mice.",
        "6.3",
        "fig4c",
        tuple(
            partial(
                by_trial.gain, item="fig4c_trials", rival="POYO+", metrics=("r2",), group="held-out", relative=relative
            )
            for relative in (False, True)
        ),
        about_mice=True,
    ),
    Claim(
        10,
        "Neurons tuned to cue, and neurons tuned to choice, separate on the principal components of their embeddings.",
        "6.4",
        "fig5a",
        (partial(embeddings.tuning_apart, item="fig5a", shuffles=("fig5a_null",) * 2, text=PLANE, group="held-in"),),
        about_mice=True,
    ),
    Claim(
        11,
        "LDA finds directions among the embeddings along which tuning changes gradually.",
        "6.4",
        "fig5b",
        (partial(embeddings.tuning_apart, item="fig5b", text=AXIS, **HELD_IN),),
        about_mice=True,
    ),
    Claim(
        12,
        "The directions of cue and of choice are about orthogonal.",
        "6.4",
        "fig5b",
        (partial(embeddings.right_angle, item="fig5b_angles", margin=ORTHOGONAL, **HELD_IN),),
        how=f"About orthogonal is taken to be within {ORTHOGONAL:g} degrees; the paper gives no bounds.",
    ),
    Claim(
        13,
        "The gradients are stronger than with shuffled labels.",
        "6.4",
        "fig7a",
        (partial(embeddings.beyond_shuffles, **HELD_IN),),
    ),
    Claim(
        14,
        "Claims 10 to 13 are true of held-out mice as well.",
        "6.4",
        "fig8b",
        (
            partial(embeddings.tuning_apart, item="fig8a", shuffles=("fig8a_null",) * 2, text=PLANE, group="held-out"),
            partial(embeddings.tuning_apart, item="fig8b", text=AXIS, **HELD_OUT),
            partial(embeddings.right_angle, item="fig8b_angles", margin=ORTHOGONAL, **HELD_OUT),
            partial(embeddings.beyond_shuffles, **HELD_OUT),
        ),
        about_mice=True,
    ),
    Claim(
        15,
        "Forecasts keep the low-dimensional dynamics better than those of POCO do, and better than shuffled trials.",
        "6.4",
        "fig5c",
        (
            partial(
                by_trial.better,
                item="fig5c_trials",
                rivals=("POCO",),
                metric="corr of components",
                groups=GROUPS,
                others=True,
            ),
            partial(
                by_trial.above,
                item="fig5c_trials",
                metric="corr of components",
                other="corr of components, other trials",
                text=" over forecasts for other trials",
                shuffles="fig5c_shuffles",
            ),
        ),
        about_mice=True,
    ),
    Claim(
        16,
        "Forecasts keep the low-dimensional dynamics better than single traces.",
        "6.4",
        "fig5c",
        (
            partial(
                by_trial.above,
                item="fig5c_trials",
                metric="corr of components",
                other="corr of neurons",
                text=", components over single neurons",
            ),
        ),
        about_mice=True,
    ),
    Claim(
        17,
        "Session embeddings tell mouse, area and layer; neuron embeddings hardly do.",
        "App. E",
        "table9",
        (
            partial(embeddings.sessions_tell, **LABELS),
            partial(embeddings.neurons_hardly_tell, margin=HARDLY, **LABELS),
        ),
        how=f"Hardly is taken to be at most {HARDLY} above the accuracy with shuffled labels; the paper gives none.",
    ),
    Claim(
        18,
        "Each term of the quantizer's loss and each training strategy of the transformer helps, scheduled sampling"
        " most.",
        "App. D",
        "table7",
        ABLATIONS,
        how="Baseline minus variant, paired by session and training. p (sessions) and the interval are about other"
        " trainings: what is repeated here is the training, not the session.",
    ),
)


def judge(folder: Path, claims: Sequence[int] = ()) -> pd.DataFrame:
    """The tests of the claims (by number; all if none is named) on the results tables of a folder.

    Returns:
        A row for each test, in the paper's order, with COLUMNS: `ours` is the effect, `low` and `high` its 95 %
        interval, p values as of `calm.paper.claims.statistics.Evidence` after Holm; `counts` is whether the claim
        depends on the test, `note` its verdict, `needs` what it would take to have one.
    """
    tables = Tables(folder)
    rows = [
        row(claim, each)
        for claim in CLAIMS
        if not claims or claim.number in claims
        for test in claim.tests
        for each in correct(test(tables, tables.mice if claim.about_mice else {}))
    ]
    tests = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(NUMBERS, float))
    order = ["claim", "beyond"]
    tests = tests.assign(claim=tests["item"].str.removeprefix("claim ").astype(int), beyond=~tests["counts"].eq(True))
    return tests.sort_values(order, kind="stable", ignore_index=True).drop(columns=order)


def row(claim: Claim, test: Comparison) -> dict[str, object]:
    """A test in the columns of `judge`."""
    note = UNTESTED
    if (evidence := test.evidence) is not None:
        note = test.verdict(evidence) if test.verdict else significance(evidence, about_mice=claim.about_mice)
    about = dataclasses.asdict(test.evidence) if test.evidence else {}
    named = {name: getattr(test, name) for name in ("dataset", "group", "variant", "metric", "method", "counts")}
    needs = test.needs if note == UNTESTED else ""
    return {"item": claim.name, **named, **about, "ours": about.get("effect"), "note": note, "needs": needs}


def verdicts(folder: Path, claims: Sequence[int]) -> pd.DataFrame:
    """What notebooks show: the tests of some claims, as the report has them, with rounded numbers."""
    shown = ["item", "group", "variant", "method", "ours", "low", "high", "p", "p_sessions", "p_mice", "note", "needs"]
    tests = judge(folder, claims)[shown]
    return tests.loc[:, tests.notna().any() & tests.ne("").any()].round(4)


def tests_of(claim: Claim, tests: pd.DataFrame) -> pd.DataFrame:
    """The tests of one claim."""
    return tests[tests["item"] == claim.name]


def verdict_of(claim: Claim, tests: pd.DataFrame) -> str:
    """One verdict from those of the tests that count; tests that could not be made have no say."""
    if claim.construction:
        return BY_CONSTRUCTION
    own = tests_of(claim, tests)
    notes = own.loc[own["counts"] & (own["note"] != UNTESTED), "note"]
    if notes.empty:
        return UNTESTED
    if (notes == FAILS).any():
        return FAILS if (notes == FAILS).all() else IN_PART
    return max(notes, key=[HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS].index)
