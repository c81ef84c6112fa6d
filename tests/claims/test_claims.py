"""Claims about reconstruction, forecasts and decoding: what was planted holds with its size, and nothing else does."""

import numpy as np
import pandas as pd
import pytest
from claim_cases import judged, session_rows, trial_rows

from calm.paper.claims.comparisons import FAILS, HOLDS, HOLDS_FOR_MICE, HOLDS_FOR_SESSIONS, UNTESTED
from calm.paper.claims.table import CLAIMS, judge, verdicts
from calm.paper.results import FINE_TUNED

BETTER = {("CalM", "greedy"): 0.1, ("CalM", "mean of 16"): 0.6, ("POCO", ""): 0.4}
HELD_IN, HELD_OUT = (2, 2, 2, 2), (4, 4)  # sessions of each mouse
FORECASTERS, DECODERS = (CLAIMS[index].tests[0]["rivals"] for index in (1, 5))

# --- Forecasts


@pytest.mark.parametrize(("mice", "note"), [((1,), HOLDS_FOR_SESSIONS), ((3,), HOLDS)])
def test_a_clear_difference_is_found_with_its_size(tmp_path, mice, note):
    tests = judged(tmp_path, 2, fig3b_trials=trial_rows(BETTER, mice))
    poco = tests.loc["CalM (mean of 16) over POCO"]
    assert poco["note"] == note and poco["low"] < poco["ours"] < poco["high"] and poco["p"] < 0.05
    assert poco["ours"] == pytest.approx(0.2, abs=0.07)
    assert tests.loc[[f"CalM (mean of 16) over {name}" for name in FORECASTERS[:3]], "note"].eq(UNTESTED).all()


def test_being_worse_does_not_count_as_better(tmp_path):
    tests = judged(tmp_path, 3, fig3c_trials=trial_rows({("CalM", "greedy"): 0.3, ("POCO", ""): 0.6}, (3,)))
    assert tests.loc["CalM (greedy) over POCO", "note"] == FAILS and tests.loc["CalM (greedy) over POCO", "ours"] < 0


def test_calms_variant_is_chosen_on_validation_trials_not_on_test_trials(tmp_path):
    rows = trial_rows(BETTER, (1,))
    rows.loc[(rows["split"] == "test") & (rows["variant"] == "greedy"), "value"] += 10
    assert judged(tmp_path, 2, fig3b_trials=rows).index.str.startswith("CalM (mean of 16)").all()


def test_the_fine_tuned_variant_is_neither_judged_nor_compared_with(tmp_path):
    before = judged(tmp_path / "1", 2, fig3b_trials=trial_rows(BETTER, (3,)))
    tuned = trial_rows({(FINE_TUNED, ""): 0.9}, (3,))
    after = judged(tmp_path / "2", 2, fig3b_trials=pd.concat([trial_rows(BETTER, (3,)), tuned]))
    pd.testing.assert_frame_equal(before, after)


def test_methods_that_the_claim_does_not_name_are_shown_and_do_not_count_and_ceilings_are_none(tmp_path):
    rows = trial_rows({**BETTER, ("decay", ""): 0.2, ("ceiling", "known state"): 0.7}, (1,))
    counts = judged(tmp_path, 2, fig3b_trials=rows)["counts"]
    assert not counts["CalM (mean of 16) over decay"] and counts["CalM (mean of 16) over POCO"] and len(counts) == 5


def test_without_calm_nothing_can_be_tested(tmp_path):
    assert set(judged(tmp_path, 2, fig3b_trials=trial_rows({("POCO", ""): 0.5}, (1,)))["note"]) == {UNTESTED}


def test_p_values_are_corrected_over_the_methods(tmp_path):
    rows = trial_rows({("CalM", "greedy"): 0.42, ("POCO", ""): 0.4}, (1,))
    alone = judged(tmp_path / "1", 2, fig3b_trials=rows).loc["CalM (greedy) over POCO", "p"]
    copies = [rows[rows["method"] == "POCO"].assign(method=name) for name in ("TCN", "decay")]
    together = judged(tmp_path / "3", 2, fig3b_trials=pd.concat([rows, *copies])).loc["CalM (greedy) over POCO", "p"]
    assert together == pytest.approx(min(3 * alone, 1))


def groups_of(held_in, held_out, metrics=("corr",), noise=0.01):
    """Per-trial scores of two groups, and whose their sessions are; mice of the second have other names."""
    first = trial_rows(held_in, HELD_IN, metrics=metrics, noise=noise, group="held-in")
    second = trial_rows(held_out, HELD_OUT, metrics=metrics, noise=noise, group="held-out", seed=1)
    mice = session_rows(HELD_IN), session_rows(HELD_OUT)
    for rows in (second, mice[1]):
        rows["session"] = "new " + rows["session"]
    mice[1]["subject"] = "new " + mice[1]["subject"]
    return pd.concat([first, second]), pd.concat(mice)


def test_competitive_is_a_little_worse_but_not_more_and_two_mice_speak_for_themselves_only(tmp_path):
    for shift, notes in ((0.005, [HOLDS, HOLDS_FOR_MICE]), (0.1, [FAILS, FAILS])):
        scores = {("CalM", "expected"): 0.4 - shift, ("CalM", "greedy"): 0.1, ("POCO", ""): 0.4}
        rows, mice = groups_of(scores, scores)
        tests = judged(tmp_path / str(shift), 4, fig3d_trials=rows, data_session_subjects=mice)
        assert tests["note"].tolist() == notes and tests["group"].tolist() == ["held-in", "held-out"]
        np.testing.assert_allclose(tests["ours"], -shift, atol=0.006)
        assert (tests["low"] < tests["ours"]).all() and (tests["ours"] < tests["high"]).all()


def test_both_groups_of_claim_4_are_corrected_together(tmp_path):
    scores = {("CalM", "expected"): 0.385, ("POCO", ""): 0.4}
    rows, mice = groups_of(scores, scores, noise=0.03)
    both = judged(tmp_path / "both", 4, fig3d_trials=rows, data_session_subjects=mice)["p_sessions"]
    alone = [
        judged(tmp_path / group, 4, fig3d_trials=rows[rows["group"] == group])["p_sessions"].dropna().iloc[0]
        for group in ("held-in", "held-out")
    ]
    assert min(both) == pytest.approx(2 * min(alone)) and max(both) == pytest.approx(max(2 * min(alone), max(alone)))


# --- Reconstruction


def reconstructions(held_in, held_out):
    """One row a session."""
    groups = {"held-in": held_in, "held-out": held_out}
    rows = [
        {"session": f"{group} {number}", "group": group, "value": float(value)}
        for group, values in groups.items()
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(dataset="cohort", split="test", metric="corr", method="CalM", variant="")


def around(level, sessions, spread=0.005, seed=0):
    """Values with exactly this mean."""
    noise = np.random.default_rng(seed).normal(0, spread, sessions)
    return level + noise - noise.mean()


@pytest.mark.parametrize(
    ("held_in", "held_out", "expected"),
    [
        (around(0.98, 12), around(0.975, 4), [HOLDS_FOR_MICE, HOLDS_FOR_MICE, HOLDS_FOR_MICE]),
        (around(0.98, 12), around(0.95, 4), [HOLDS_FOR_MICE, HOLDS_FOR_MICE, FAILS]),
        (around(0.95, 12), around(0.98, 4), [HOLDS_FOR_MICE, HOLDS_FOR_MICE, FAILS]),  # better is not equal either
        (around(0.70, 12), around(0.70, 4), [FAILS, FAILS, HOLDS_FOR_MICE]),
        (around(0.91, 12, 0.05), around(0.91, 3, 0.05), [HOLDS_FOR_SESSIONS] * 3),
        ([0.98], [0.98], [HOLDS_FOR_SESSIONS] * 3),
        ([0.98, 0.97], [0.5], [HOLDS_FOR_MICE, FAILS, FAILS]),
        (around(0.98, 5), [], [HOLDS_FOR_MICE, UNTESTED, UNTESTED]),
    ],
)
def test_levels_and_differences_of_reconstructions_are_judged_apart(tmp_path, held_in, held_out, expected):
    assert judged(tmp_path, 1, fig1b=reconstructions(held_in, held_out))["note"].tolist() == expected


def test_the_three_tests_of_claim_1_are_corrected_together(tmp_path):
    rows = reconstructions(around(0.92, 12, 0.05), around(0.91, 4, 0.05, seed=1))
    both = judged(tmp_path / "both", 1, fig1b=rows)["p_sessions"]
    alone = judged(tmp_path / "alone", 1, fig1b=rows[rows["group"] == "held-in"])["p_sessions"].iloc[0]
    assert alone < both.iloc[0] <= 3 * alone + 1e-12


def test_only_test_trials_and_correlations_count(tmp_path):
    rows = reconstructions(around(0.98, 12), around(0.98, 4))
    others = [reconstructions([0.1], [0.3]).assign(split="train"), reconstructions([5], [7]).assign(metric="mse")]
    expected = judged(tmp_path / "1", 1, fig1b=rows)
    pd.testing.assert_frame_equal(judged(tmp_path / "2", 1, fig1b=pd.concat([rows, *others])), expected)


def test_margins_are_written_once_and_named_in_the_tests(tmp_path):
    names = judged(tmp_path, 1, fig1b=reconstructions([0.9], [0.9])).index
    assert "over 0.9" in names[0] and "within 0.02" in names[2]
    assert "above 0.9" in CLAIMS[0].explanation and "within 0.02" in CLAIMS[0].explanation


# --- Decoding

R2 = ("r2", "r2 pitch", "r2 roll", "r2 yaw")
GLU, LINEAR = ("CalM", "GLU head"), ("CalM", "linear head")
AHEAD = "equal look-ahead"
OTHERS = dict.fromkeys([(name, AHEAD) for name in DECODERS], 0.5)
TWO = {("GLM", AHEAD): 0.5, ("TCN", AHEAD): 0.5}


def decoded(levels, mice=(5,), **options):
    return trial_rows(levels, mice, metrics=R2, **options)


def test_a_better_decoder_holds_channel_by_channel_and_yaw_is_excepted(tmp_path):
    tests = judged(tmp_path, 6, fig4b_trials=decoded({GLU: (0.7, 0.7, 0.4, 0.7), **OTHERS, LINEAR: 0.6}))
    assert len(tests) == 12 and not tests["variant"].eq("mean of channels").any()
    for channel, note in {"pitch": HOLDS, "roll": FAILS, "yaw": HOLDS}.items():
        rows = tests[tests["variant"] == channel]
        assert set(rows["note"]) == {note} and rows["counts"].eq(channel != "yaw").all()
        np.testing.assert_allclose(rows["ours"], -0.1 if channel == "roll" else 0.2, atol=0.05)


def test_decoders_are_corrected_over_methods_and_channels_and_yaw_by_itself(tmp_path):
    rows = decoded({GLU: 0.52, **TWO})
    tests = judged(tmp_path / "all", 6, fig4b_trials=rows).dropna(subset="ours")
    for family in (("pitch", "roll"), ("yaw",)):
        alone = [
            judged(tmp_path / f"{channel} {name}", 6, fig4b_trials=part).dropna(subset="ours")["p"].iloc[0]
            for channel in family
            for name, _ in TWO
            if len(part := rows[rows["metric"].eq(f"r2 {channel}") & rows["method"].isin(["CalM", name])])
        ]
        assert tests.loc[tests["variant"].isin(family), "p"].min() == pytest.approx(min(1, len(alone) * min(alone)))


def test_other_behaviour_than_the_papers_is_judged_by_its_own_names(tmp_path):
    rows = decoded({GLU: 0.7, **TWO}).query("metric == 'r2 pitch'").assign(metric="r2 lick")
    assert set(judged(tmp_path, 6, fig4b_trials=rows)["variant"]) == {"lick"}


@pytest.mark.parametrize(("level", "note"), [(0.9, HOLDS), (0.69, HOLDS), (0.65, FAILS), (0.5, FAILS)])
def test_the_linear_head_is_competitive_down_to_the_margin(tmp_path, level, note):
    tests = judged(tmp_path, 7, fig4b_trials=decoded({LINEAR: level, **OTHERS, ("RRR", AHEAD): 0.7}, noise=0.02))
    assert tests["variant"].tolist() == ["mean of channels", "pitch", "roll", "yaw"]
    assert set(tests.index) == {"CalM (linear head) over RRR (equal look-ahead)"} and set(tests["note"]) == {note}
    np.testing.assert_allclose(tests["ours"], level - 0.7, atol=0.03)


def test_the_best_other_decoder_is_chosen_on_validation_trials(tmp_path):
    rows = decoded({LINEAR: 0.6, **OTHERS, ("TCN", AHEAD): 0.7, ("POYO+", ""): 0.9})  # as many frames, or no rival
    rows.loc[(rows["split"] == "test") & (rows["method"] == "GLM"), "value"] += 1
    assert judged(tmp_path, 7, fig4b_trials=rows).index.str.endswith("over TCN (equal look-ahead)").all()
    assert set(judged(tmp_path, 7, fig4b_trials=rows[rows["split"] == "test"])["note"]) == {UNTESTED}


@pytest.mark.parametrize(("level", "notes"), [(0.6, (HOLDS, HOLDS_FOR_MICE)), (0.5, (FAILS, FAILS))])
def test_a_gain_over_poyo_is_given_in_points_and_relative(tmp_path, level, notes):
    rows, mice = groups_of(*[{GLU: level, ("POYO+", AHEAD): 0.5}] * 2, metrics=R2, noise=0.02)
    for claim, number, note in ((8, 2, notes[0]), (9, 1, notes[1])):
        tests = judged(tmp_path, claim, fig4c_trials=rows, data_session_subjects=mice)
        points, relative = (tests[tests["metric"].str.startswith("relative") == form] for form in (False, True))
        assert len(points) == len(relative) == number and set(tests["note"]) == {note}
        np.testing.assert_allclose(points["ours"], level - 0.5, atol=0.03)
        np.testing.assert_allclose(relative["ours"], points["ours"] / 0.5, rtol=0.2)
        assert (points["p"] == relative["p"]).all()


def test_there_is_no_relative_gain_over_what_decodes_nothing(tmp_path):
    rows, _ = groups_of(*[{GLU: 0.6, ("POYO+", AHEAD): -0.5}] * 2, metrics=R2)
    tests = judged(tmp_path, 9, fig4c_trials=rows).set_index("metric")
    assert tests.loc["relative r2 difference", "note"] == UNTESTED and tests.loc["r2 difference", "ours"] > 1


# --- All claims


def test_without_results_every_test_is_there_and_none_has_a_number(tmp_path):
    tests = judge(tmp_path)
    assert set(tests["note"]) == {UNTESTED} and tests["ours"].isna().all()
    assert list(dict.fromkeys(tests["item"])) == [f"claim {number}" for number in range(1, 19) if number != 5]


def test_a_notebook_shows_the_verdicts_of_the_report(tmp_path):
    judged(tmp_path, 2, fig3b_trials=trial_rows(BETTER, (3,)))
    tests, shown = judge(tmp_path).query("item == 'claim 2'"), verdicts(tmp_path, claims=[2])
    assert shown["note"].tolist() == tests["note"].tolist() and "p_mice" not in shown
