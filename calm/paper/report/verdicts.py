"""The paper's 18 claims: what each says, the tests that judge it, and a verdict on the whole."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from calm.paper.claims.ablation_claims import judge_claim_18
from calm.paper.claims.claims import (
    COLUMNS,
    FAILS,
    HOLDS,
    HOLDS_HERE,
    MARGIN,
    RIVALS,
    UNTESTED,
    judge_claim_2,
    judge_claim_3,
    judge_claim_4,
)
from calm.paper.claims.decoding_claims import judge_claim_6, judge_claim_7, judge_claim_8, judge_claim_9
from calm.paper.claims.embedding_claims import judge_embedding_claims
from calm.paper.claims.reconstruction_claims import judge_claim_1
from calm.paper.report.items import ITEMS
from calm.paper.results import read_item

IN_PART, BY_CONSTRUCTION = "holds in part", "holds by construction"
DECODERS = ("GLM", "RRR", "TCN", "POYO+")  # the methods that claim 6 names
NUMBERS = ("ours", "low", "high", "p", "p_sessions")
Judge = Callable[[Path], pd.DataFrame | None]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper (spec 8).

    Attributes:
        number: its place in the list.
        statement: what is claimed.
        section: of the paper.
        item: whose results test it.
        rivals: methods that the claim names; tests against others are shown and do not count.
        how: what a reader of its tests has to know.
        construction: why it holds without any test, if it does.
    """

    number: int
    statement: str
    section: str
    item: str
    rivals: tuple[str, ...] = ()
    how: str = ""
    construction: str = ""

    @property
    def name(self) -> str:
        """As the column `item` of its tests says."""
        return f"claim {self.number}"


BETTER = "Differences in per-trial correlation, paired over the test trials. p: sign flips of the trials."
CLAIMS = (
    Claim(
        1,
        "Tokens keep a trace faithfully, and equally well for mice that the quantizer never saw.",
        "6.1",
        "fig1b",
        how="Faithful is taken to be a correlation above 0.9, equally well a difference within 0.02 (two one-sided"
        " tests); the paper gives no bounds.",
    ),
    Claim(
        2,
        "On simulated networks CalM forecasts better than TCN, PatchTST, iTransformer and POCO.",
        "6.2",
        "fig3b",
        rivals=RIVALS,
        how=BETTER,
    ),
    Claim(
        3,
        "Trained on a single recording, CalM forecasts better than the same four.",
        "6.2",
        "fig3c",
        rivals=RIVALS,
        how=BETTER,
    ),
    Claim(
        4,
        "Trained on many recordings, CalM is competitive with POCO, on held-in and on held-out mice.",
        "6.2",
        "fig3d",
        how=f"Competitive is taken to be not worse by {MARGIN} in correlation; the paper gives no margin. p: of a CalM"
        " that is worse by just so much.",
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
        rivals=DECODERS,
    ),
    Claim(
        7,
        "There, the linear head is competitive with them.",
        "6.3",
        "fig4b",
        how="Competitive is taken to be less than 0.05 of R² below the best other decoder, which is chosen on"
        " validation trials; the paper gives no margin. p: of a head that is worse by just so much.",
    ),
    Claim(
        8,
        "Trained on many recordings, the GLU head is 10.1 % above POYO+ on held-in mice, and 20.9 % on yaw.",
        "6.3",
        "fig4c",
    ),
    Claim(9, "And 7.2 % above POYO+ on held-out mice.", "6.3", "fig4c"),
    Claim(
        10,
        "Neurons tuned to cue, and neurons tuned to choice, separate on the principal components of their embeddings.",
        "6.4",
        "fig5a",
    ),
    Claim(11, "LDA finds directions among the embeddings along which tuning changes gradually.", "6.4", "fig5b"),
    Claim(12, "The directions of cue and of choice are about orthogonal.", "6.4", "fig5b"),
    Claim(13, "The gradients are stronger than with shuffled labels.", "6.4", "fig7a"),
    Claim(14, "Claims 10 to 13 are true of held-out mice as well.", "6.4", "fig8b"),
    Claim(
        15,
        "Forecasts keep the low-dimensional dynamics better than those of POCO do, and better than shuffled trials.",
        "6.4",
        "fig5c",
    ),
    Claim(16, "Forecasts keep the low-dimensional dynamics better than single traces.", "6.4", "fig5c"),
    Claim(17, "Session embeddings tell mouse, area and layer; neuron embeddings hardly do.", "App. E", "table9"),
    Claim(
        18,
        "Each term of the quantizer's loss and each training strategy of the transformer helps, scheduled sampling"
        " most.",
        "App. D",
        "table7",
        how="Baseline minus variant, paired by session and training. p (sessions) and the interval are about other"
        " trainings: what is repeated here is the training, not the session.",
    ),
)


def on_items(judge: Callable[[pd.DataFrame], pd.DataFrame], *items: str) -> Judge:
    """A judge of results tables, read from a folder and put below each other; no verdict unless all are there."""

    def judge_folder(folder: Path) -> pd.DataFrame | None:
        paths = [folder / f"{item}.csv" for item in items]
        found = all(path.exists() for path in paths)
        return judge(pd.concat(map(read_item, paths), ignore_index=True)) if found else None

    return judge_folder


JUDGES: tuple[Judge, ...] = (
    on_items(judge_claim_1, "fig1b"),
    on_items(judge_claim_2, "fig3b_trials"),
    on_items(judge_claim_3, "fig3c_trials"),
    on_items(judge_claim_4, "fig3d_trials"),
    on_items(judge_claim_6, "fig4b_trials"),
    on_items(judge_claim_7, "fig4b_trials"),
    on_items(judge_claim_8, "fig4c_trials"),
    on_items(judge_claim_9, "fig4c_trials"),
    judge_embedding_claims,
    on_items(judge_claim_18, "table7", "table8"),
)


def judge_all(folder: Path) -> pd.DataFrame:
    """The tests of all claims that the results in a folder allow, in the paper's order, as `calm.paper.claims.claims.COLUMNS`."""
    tables = [table.astype(object) for judge in JUDGES if (table := judge(folder)) is not None]
    tests = pd.concat([pd.DataFrame(columns=list(COLUMNS)), *tables], ignore_index=True)
    order = {claim.name: claim.number for claim in CLAIMS}
    tests = tests.astype({name: float for name in NUMBERS})
    return tests.sort_values("item", key=lambda names: names.map(order), kind="stable").reset_index(drop=True)


def tests_of(claim: Claim, tests: pd.DataFrame) -> pd.DataFrame:
    """The tests of one claim."""
    return tests[tests["item"] == claim.name]


def counting(claim: Claim, tests: pd.DataFrame) -> pd.DataFrame:
    """The tests that decide on a claim: all, or those against the methods that it names.

    One with more to its verdict, as `holds (excepted by the paper)`, decides nothing.
    """
    own = tests_of(claim, tests)
    own = own[own["note"].isin([HOLDS, HOLDS_HERE, FAILS, UNTESTED])]
    return own[own["method"].str.endswith(claim.rivals)] if claim.rivals else own


def verdict_of(claim: Claim, tests: pd.DataFrame) -> str:
    """One verdict from those of a claim's tests; tests that could not be made have no say."""
    if claim.construction:
        return BY_CONSTRUCTION
    notes = counting(claim, tests)["note"]
    made = notes[notes != UNTESTED]
    if made.empty:
        return UNTESTED
    passed = made.isin([HOLDS, HOLDS_HERE])
    if not passed.all():
        return IN_PART if passed.any() else FAILS
    return HOLDS if (made == HOLDS).all() else HOLDS_HERE


def tally(claim: Claim, tests: pd.DataFrame) -> str:
    """`3 of 4 hold, 1 not tested`, of the tests that count."""
    notes = counting(claim, tests)["note"]
    untested = int((notes == UNTESTED).sum())
    if untested == len(notes):
        return ""
    held = f"{int(notes.isin([HOLDS, HOLDS_HERE]).sum())} of {len(notes) - untested}"
    return f"{held}, {untested} not tested" if untested else held


def missing(claim: Claim, folder: Path) -> str:
    """Why a claim has no test."""
    item = next(each for each in ITEMS if each.name == claim.item)
    if (folder / f"{item.name}.csv").exists():
        return f"{item.label} is there, but nothing tests it yet."
    return f"{item.label} was not computed: `notebooks/{item.notebook}` makes it."
