"""What simple codes keep of traces, beside which the tokens of Figure 1B are seen."""

import dataclasses

import numpy as np
import pytest

from calm.data.preparation import prepare
from calm.paper.experiments.reconstruction import fit_components, keep_components, score_control, unsmooth
from calm.paper.results import Results
from calm.profile import load_profile
from calm.recordings import Recordings


def control(session, smoothing):
    results = Results("made", seed=0)
    score_control(results, Recordings("made", [session], [], load_profile("smoke"), smoothing), item="fig1b_control")
    return results.table("fig1b_control").set_index(["method", "variant"])["value"]


def test_smoothing_is_undone(make_session):
    raw = make_session([30, 41] * 10)
    plain, smoothed = (prepare(raw, seed=0, smoothing=weight) for weight in (1.0, 0.15))
    for before, after in zip(plain.traces, smoothed.traces, strict=True):
        correlation = [np.corrcoef(*pair)[0, 1] for pair in zip(before, unsmooth(after, 0.15), strict=True)]
        np.testing.assert_allclose(correlation, 1, atol=1e-4)


def test_codes_keep_a_quarter_of_white_noise_and_smoothing_makes_them_look_good(make_session):
    session = prepare(make_session([96] * 60), seed=0, smoothing=0.15)
    values = control(session, 0.15)
    means, components = "means of 4 frames", "8 components of 32 frames"
    assert values[means, "not smoothed"] == pytest.approx(0.5, abs=0.03)  # the root of a quarter of the variance
    assert values[components, "not smoothed"] == pytest.approx(0.5, abs=0.05)
    assert values[components, "smoothed"] > values[means, "smoothed"] > 0.85


def test_components_keep_whatever_is_made_of_eight_shapes_and_see_no_test_trial(make_session):
    session = prepare(make_session([70] * 20), seed=0)
    shapes = np.random.default_rng(0).normal(size=(8, 32))
    weights = np.random.default_rng(1).normal(size=(20, 5, 2, 8))
    made = [np.concatenate([each[:, 0] @ shapes, each[:, 1] @ shapes], axis=1) for each in weights]
    traces = [
        trace if split == "train" else 1e3 + trace for trace, split in zip(made, session.trials["split"], strict=True)
    ]
    components = fit_components([dataclasses.replace(session, traces=tuple(traces))], 32, 1.0)
    np.testing.assert_allclose(keep_components(made[0], components), made[0], atol=1e-6)
    cut = keep_components(made[0][:, :50], components)
    assert cut.shape == (5, 50)
    np.testing.assert_allclose(cut[:, :32], made[0][:, :32], atol=1e-6)


def test_traces_that_were_never_smoothed_have_one_row_for_each_code(make_session):
    assert set(control(prepare(make_session([64] * 20), seed=0), 1.0).index.get_level_values("variant")) == {""}
