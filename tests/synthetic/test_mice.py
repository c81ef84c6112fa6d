"""Who is in the cohort, what the mice do in the maze, and what their neurons are tuned to."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from calm.config.synthetic import CohortConfig
from calm.synthetic import population
from calm.synthetic.maze import (
    ARM,
    CYCLE,
    IMAGE_RATE,
    LONGEST,
    PLANES,
    SHORTEST,
    STEM,
    draw_task,
    run_session,
    trial_lengths,
)
from calm.synthetic.mice import plan_cohort
from calm.synthetic.truth import simulate_session


def table(plans):
    return pd.DataFrame(plans)


def run(trials, *, seed=0, mean=90.0, **numbers):
    return run_session(CohortConfig(trials=trials, **numbers), mean, np.random.default_rng(seed))


def assert_same(one, other):
    """Two results of simulate_session, every array of them."""
    for name in ("trial_number", "position", "velocity"):
        np.testing.assert_array_equal(getattr(one[0], name), getattr(other[0], name))
    np.testing.assert_array_equal(one[1].spikes, other[1].spikes)
    np.testing.assert_array_equal(one[1].rates(2), other[1].rates(2))
    pd.testing.assert_frame_equal(one[0].trials, other[0].trials)
    pd.testing.assert_frame_equal(one[1].neurons, other[1].neurons)


def test_cohort_has_the_sessions_and_neurons_of_tables_1_and_2():
    plans = table(plan_cohort(CohortConfig()))
    assert len(plans) == 286 and plans["neurons"].sum() == 273_770
    mice, areas = plans.groupby("mouse")["neurons"], plans.groupby("area")["neurons"]
    assert mice.size().tolist() == [17, 23, 31, 46, 35, 42, 41, 51]
    assert mice.sum().tolist() == [17861, 20592, 34293, 40262, 36621, 42550, 45787, 35804]
    assert areas.size().to_dict() == {"AM": 42, "MM": 41, "PM": 35, "RSC": 55, "V1": 43, "visA": 70}
    assert areas.sum().tolist() == [42088, 44520, 32291, 51262, 39619, 63990]
    assert plans["neurons"].min() > 4 * PLANES


def test_small_cohort_has_every_mouse_area_and_layer():
    plans = table(plan_cohort(CohortConfig(session_share=0, neuron_share=0.01)))
    assert plans.groupby("mouse").size().to_dict() == dict.fromkeys(range(3, 11), 2)
    assert plans.groupby(["area", "layer"]).ngroups == 12
    assert plans["neurons"].min() == CohortConfig().min_neurons


def test_more_sessions_leave_the_others_as_they_are(plan, simulated, tiny):
    few, many = (plan_cohort(tiny.changed(session_share=share)) for share in (0, 0.2))
    assert set(few) < set(many)
    assert_same(simulated, simulate_session(many[many.index(plan)], tiny))


def test_session_follows_from_seed_and_name(plan, simulated, tiny):
    behaviour, truth = simulate_session(plan, tiny.changed(seed=1))
    assert not np.array_equal(behaviour.trial_number, simulated[0].trial_number)
    assert not np.array_equal(truth.recurrence, simulated[1].recurrence)
    other = simulate_session(dataclasses.replace(plan, date="2017-01-01"), tiny)[1]
    assert not np.array_equal(other.neurons["cue"], simulated[1].neurons["cue"])
    np.testing.assert_array_equal(other.recurrence, simulated[1].recurrence)


def test_rule_switches_after_blocks_of_the_given_lengths():
    trials = run(2000, block=(100, 150)).trials
    switches = np.flatnonzero(trials["switch"])
    assert np.all((np.diff(switches) >= 100) & (np.diff(switches) <= 150)) and 100 <= switches[0] <= 150
    np.testing.assert_array_equal(switches, 1 + np.flatnonzero(np.diff(trials["rule_a"].astype(int))))


def test_choices_follow_the_rule_in_about_85_percent_and_dip_after_a_switch():
    trials = draw_task(CohortConfig(trials=5000), np.random.default_rng(0))
    by_rule = trials["black"] == trials["rule_a"]  # black left, white right
    np.testing.assert_array_equal(trials["correct"], trials["left"] == by_rule)
    assert trials["correct"].mean() == pytest.approx(0.85, abs=0.02)
    after = np.add.outer(np.flatnonzero(trials["switch"])[:-1], np.arange(5))
    assert trials["correct"].to_numpy()[after].mean() < 0.6
    assert trials["black"].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("mean", [77.0, 105.0])
def test_trials_have_the_lengths_of_table_1_and_none_is_dropped(mean):
    volumes = trial_lengths(20_000, mean, np.random.default_rng(0)) / CYCLE
    assert volumes.mean() == pytest.approx(mean, rel=0.01)
    assert volumes.min() >= SHORTEST and volumes.max() <= LONGEST


def test_every_plane_has_enough_volumes_of_every_trial(simulated, tiny):
    behaviour, truth = simulated
    for plane in range(PLANES):
        numbers = behaviour.trial_number[plane::CYCLE]
        counts = np.bincount(numbers[np.isfinite(numbers)].astype(int))
        assert counts.min() >= SHORTEST and counts.max() <= LONGEST
        assert np.all(counts >= truth.trial_volumes) and np.all(counts - truth.trial_volumes <= 1)
        first = [np.flatnonzero(numbers == trial)[0] for trial in range(tiny.trials)]
        np.testing.assert_array_equal(truth.trial_starts[:, plane], first)


def test_mouse_runs_through_the_stem_into_the_arm_that_it_chooses(simulated):
    behaviour, _ = simulated
    for trial in behaviour.trials.itertuples():
        forward, right = behaviour.position[trial.start : trial.choice].T
        assert np.all(np.diff(forward) > 0) and forward[-1] == pytest.approx(STEM + ARM, rel=0.02)
        assert forward[trial.arm - trial.start - 1] <= STEM < forward[trial.arm - trial.start]
        assert (right[-1] < 0) == trial.left
        assert np.isnan(behaviour.position[trial.choice : trial.stop]).all()
    assert np.isnan(behaviour.trial_number[: behaviour.trials["start"][0]]).all()


def test_choice_can_be_told_from_yaw_and_roll_in_the_arm():
    behaviour = run(100)
    for channel in (1, 2):
        means = [
            behaviour.velocity[trial.arm : trial.choice, channel].mean() for trial in behaviour.trials.itertuples()
        ]
        assert np.mean((np.array(means) > 0) == behaviour.trials["left"]) > 0.95


def test_speed_is_the_change_of_position_and_noise():
    behaviour = run(5)
    trial = behaviour.trials.iloc[2]
    inside = slice(trial["start"], trial["choice"])
    speed = IMAGE_RATE * np.gradient(behaviour.position[inside, 0])
    np.testing.assert_allclose(behaviour.velocity[inside, 0], speed + behaviour.noise[inside], atol=1e-12)


def test_design_has_cue_on_the_stem_and_choice_up_to_the_arm(simulated):
    behaviour, truth = simulated
    for trial in behaviour.trials.itertuples():
        cue, choice = truth.design[:, :2].T
        assert np.all(cue[trial.start : trial.arm] == (1 if trial.black else -1))
        assert not cue[trial.arm : trial.stop].any()
        side = 1 if trial.left else -1
        assert np.all(side * choice[trial.arm : trial.choice] == 1)
        assert np.all(np.diff(side * choice[trial.start : trial.arm]) >= 0)
        assert 0 <= side * choice[trial.stop - 1] < 0.05
    assert not truth.design[: behaviour.trials["start"][0], :2].any()


@pytest.mark.parametrize("variable", ["cue", "choice", "speed"])
def test_tuning_can_be_recovered_from_the_rates(plan, tiny, variable):
    truth = simulate_session(plan, tiny.changed(trials=40, min_neurons=40))[1]
    known = np.column_stack([truth.design[::CYCLE], np.tanh(truth.latents)])
    drive = np.arctanh(2 * truth.rates(0) / (tiny.max_rate * CYCLE / IMAGE_RATE) - 1)
    weights = truth.neurons[variable].iloc[truth.of_plane(0)]
    regression = LinearRegression().fit(known, drive.T)
    np.testing.assert_allclose(regression.coef_[:, population.VARIABLES.index(variable)], weights, atol=1e-3)


def test_strengths_and_gains_set_the_tuning(plan, tiny):
    config = tiny.changed(choice=0.0, latent=0.0, mouse_spread=0.0, session_spread=0.0)
    gains = population.draw_gains(plan, config)
    expected = (
        config.cue * population.AREA_STRENGTH.loc["cue", plan.area] * population.LAYER_STRENGTH.loc["cue", plan.layer]
    )
    assert gains["cue"] == pytest.approx(expected) and gains["choice"] == 0
    truth = simulate_session(plan, config)[1]
    assert not truth.neurons["choice"].any() and not truth.loadings.any()
    alike = tiny.changed(session_spread=0.0)
    mice = [population.draw_gains(dataclasses.replace(plan, mouse=mouse), alike)["cue"] for mouse in (3, 4)]
    assert mice[0] != mice[1]


def test_blocks_that_are_no_range_are_refused():
    with pytest.raises(ValueError, match="least and the most"):
        CohortConfig(block=(5, 4))
