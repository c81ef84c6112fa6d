"""Claims about decoding: a planted difference holds, none does not, and what was not run cannot be tested."""

import gc
import itertools

import numpy as np
import pandas as pd
import pytest

from calm.paper.claims.claims import COLUMNS, FAILS, HOLDS, HOLDS_HERE, UNTESTED, corrected
from calm.paper.claims.decoding_claims import (
    DECODERS,
    MARGIN,
    compare,
    judge_claim_6,
    judge_claim_7,
    judge_claim_8,
    judge_claim_9,
    judge_decoding,
    per_trial,
)
from calm.paper.results import TrialRow, save_item, table

CHANNELS = ("pitch", "roll", "yaw")
GLU, LINEAR = ("CalM", "GLU head"), ("CalM", "linear head")
OTHERS = dict.fromkeys([(name, "") for name in DECODERS], 0.5)
TWO = {("GLM", ""): 0.5, ("TCN", ""): 0.5}  # each comparison takes a while


def trial_rows(levels, sessions=5, trials=10, item="fig4b_trials", noise=0.05, seed=0):
    """Per-trial R2 around a level for each (method, variant), or one level a channel; trials are as easy for all.

    Sessions differ in how well a method does, by half of the noise.
    """
    rng, rows = np.random.default_rng(seed), []
    sways = {key: noise / 2 * rng.normal() for key in itertools.product(range(sessions), levels)}
    fixed = {"item": item, "dataset": "cohort", "n": 1, "seed": 0}
    for session, split, trial in itertools.product(range(sessions), ("val", "test"), range(trials)):
        ease = rng.normal(0, 0.2)
        for (method, variant), level in levels.items():
            values = np.broadcast_to(level, 3) + ease + sways[session, (method, variant)] + noise * rng.normal(size=3)
            names = {"session": f"s{session}", "split": split, "method": method, "variant": variant, "trial": trial}
            found = {"r2": values.mean(), **{f"r2 {name}": value for name, value in zip(CHANNELS, values, strict=True)}}
            rows += [TrialRow(metric=metric, value=float(value), **names, **fixed) for metric, value in found.items()]
    return table(rows)


def notes(judged):
    """Verdict by comparison and channel."""
    return judged.set_index(["method", "variant"])["note"]


@pytest.fixture(autouse=True)
def quick_collections():
    """statsmodels collects garbage with every Holm correction, which takes seconds where much is imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("sessions", [1, 5])
def test_a_planted_difference_holds_with_its_size(sessions):
    judged = judge_claim_6(trial_rows({GLU: 0.7, **OTHERS}, sessions))
    assert len(judged) == 12 and list(judged.columns) == list(COLUMNS)
    expected = HOLDS if sessions > 1 else HOLDS_HERE
    for name, channel in itertools.product(DECODERS, CHANNELS):
        note = notes(judged)[f"CalM (GLU head) over {name}", channel]
        assert note == expected + (" (excepted by the paper)" if channel == "yaw" else "")
    assert ((judged["low"] < 0.2) & (judged["high"] > 0.2)).sum() >= 10
    np.testing.assert_allclose(judged["ours"], 0.2, atol=0.05)


@pytest.mark.parametrize("level", [0.5, 0.3])
def test_no_difference_or_a_worse_head_does_not_hold(level):
    judged = judge_claim_6(trial_rows({GLU: level, **TWO}, seed=1)).dropna(subset="ours")
    assert len(judged) == 6 and judged["note"].str.startswith(FAILS).all()


def test_each_channel_is_judged_by_itself():
    found = notes(judge_claim_6(trial_rows({GLU: (0.7, 0.7, 0.4), **TWO})))
    assert found["CalM (GLU head) over GLM", "pitch"] == HOLDS
    assert found["CalM (GLU head) over GLM", "yaw"].startswith(FAILS)


def test_p_values_are_corrected_over_methods_and_channels_and_yaw_by_itself():
    trials = trial_rows({GLU: 0.52, **TWO})
    judged = judge_claim_6(trials).dropna(subset="ours")
    for family in (("pitch", "roll"), ("yaw",)):
        raw = [
            compare(per_trial(trials, f"r2 {channel}", "test"), GLU, (name, "")).p
            for channel in family
            for name, _ in TWO
        ]
        assert judged.loc[judged["variant"].isin(family), "p"].tolist() == pytest.approx(corrected(raw))


def test_other_decoders_are_rivals_too_but_ceilings_and_the_other_head_are_not():
    levels = {GLU: 0.7, LINEAR: 0.6, **TWO, ("traces", "GLU head"): 0.4, ("ceiling", "known rates"): 0.9}
    methods = set(judge_claim_6(trial_rows(levels))["method"])
    assert methods == {f"CalM (GLU head) over {name}" for name in (*DECODERS, "traces (GLU head)")}


def test_decoders_of_the_paper_that_were_not_run_are_named_as_untested():
    found = notes(judge_claim_6(trial_rows({GLU: 0.7, ("GLM", ""): 0.5})))
    assert all(found[f"CalM (GLU head) over {name}", "pitch"] == UNTESTED for name in DECODERS[1:])
    assert found["CalM (GLU head) over GLM", "pitch"] == HOLDS
    without = judge_claim_6(trial_rows(OTHERS))
    assert without["note"].str.startswith(UNTESTED).all() and without["ours"].isna().all()


@pytest.mark.parametrize(("level", "verdict"), [(0.9, HOLDS), (0.69, HOLDS), (0.65, FAILS), (0.5, FAILS)])
def test_the_linear_head_is_competitive_down_to_the_margin(level, verdict):
    judged = judge_claim_7(trial_rows({LINEAR: level, **OTHERS, ("RRR", ""): 0.7}, noise=0.02))
    assert judged["variant"].tolist() == ["mean of channels", *CHANNELS]
    assert set(judged["method"]) == {"CalM (linear head) against RRR, the best other decoder"}
    assert set(judged["note"]) == {verdict}
    np.testing.assert_allclose(judged["ours"], level - 0.7, atol=0.03)
    assert ((judged["low"] < judged["ours"]) & (judged["ours"] < judged["high"])).all() and MARGIN == 0.05


def test_the_best_other_decoder_is_chosen_on_validation_trials():
    rows = trial_rows({LINEAR: 0.6, **OTHERS, ("TCN", ""): 0.7})
    rows.loc[(rows["split"] == "test") & (rows["method"] == "GLM"), "value"] += 1
    assert judge_claim_7(rows)["method"].str.contains("against TCN").all()
    assert set(judge_claim_7(rows[rows["split"] == "test"])["note"]) == {UNTESTED}


def many(levels, **options):
    named = {
        (method, ", ".join(filter(None, (variant, group)))): level for (method, variant, group), level in levels.items()
    }
    return trial_rows(named, item="fig4c_trials", **options)


GROUPS = ("held-in", "held-out")
GAIN = {("CalM", "GLU head", group): 0.6 for group in GROUPS} | {("POYO+", "", group): 0.5 for group in GROUPS}


def test_a_planted_gain_over_poyo_holds_in_points_and_relative():
    eight, nine = judge_claim_8(many(GAIN, noise=0.02)), judge_claim_9(many(GAIN, noise=0.02))
    assert eight["variant"].tolist() == [
        f"{channel}, {form}, held-in"
        for channel, form in itertools.product(("mean of channels", "yaw"), ("r2 gain", "relative r2 gain"))
    ]
    assert len(nine) == 2 and set(eight["note"]) == set(nine["note"]) == {HOLDS}
    for judged in (eight, nine):
        for form, size in (("r2 gain", 0.1), ("relative r2 gain", 0.1 / 0.5)):
            rows = judged[judged["metric"] == form]
            np.testing.assert_allclose(rows["ours"], size, rtol=0.3)
            assert ((rows["low"] < rows["ours"]) & (rows["ours"] < rows["high"])).all()
        assert (judged["p"].to_numpy()[::2] == judged["p"].to_numpy()[1::2]).all()


def test_no_gain_does_not_hold_and_groups_are_not_mixed_up():
    levels = {**GAIN, ("CalM", "GLU head", "held-out"): 0.5}
    assert set(judge_claim_8(many(levels))["note"]) == {HOLDS}
    assert set(judge_claim_9(many(levels))["note"]) == {FAILS}


def test_there_is_no_relative_gain_over_what_decodes_nothing():
    levels = {**GAIN, ("POYO+", "", "held-in"): -0.5}
    judged = judge_claim_8(many(levels)).set_index("metric")
    assert set(judged.loc["r2 gain", "note"]) == {HOLDS}
    assert set(judged.loc["relative r2 gain", "note"]) == {UNTESTED}
    assert judged.loc["relative r2 gain", "ours"].isna().all()


def test_claims_are_read_from_the_tables_and_what_is_missing_is_untested(tmp_path):
    nothing = judge_decoding(tmp_path)
    assert set(nothing["item"]) == {"claim 6", "claim 7", "claim 8", "claim 9"}
    assert nothing["note"].str.startswith(UNTESTED).all()
    save_item(tmp_path, "fig4b_trials", trial_rows({GLU: 0.7, LINEAR: 0.6, **TWO}, noise=0.02), None, {})
    half = judge_decoding(tmp_path)
    assert half[half["item"].isin(["claim 8", "claim 9"])]["note"].eq(UNTESTED).all()
    save_item(tmp_path, "fig4c_trials", many(GAIN, noise=0.02), None, {})
    both = judge_decoding(tmp_path)
    tested = both.dropna(subset="ours")
    assert tested["note"].str.startswith(HOLDS).all() and set(both["dataset"]) == {"cohort"}
    assert tested["item"].value_counts().to_dict() == {"claim 6": 6, "claim 7": 4, "claim 8": 4, "claim 9": 2}
    pd.testing.assert_frame_equal(both.iloc[:16], half.iloc[:16])


def test_other_behaviour_than_the_paper_s_is_judged_by_its_own_names():
    rows = trial_rows({GLU: 0.7, **TWO})
    rows = rows[rows["metric"].isin(["r2", "r2 pitch"])].replace({"metric": {"r2 pitch": "r2 lick"}})
    assert set(judge_claim_6(rows)["variant"]) == {"lick"}
    assert judge_claim_8(rows)["note"].tolist() == [UNTESTED] * 4
