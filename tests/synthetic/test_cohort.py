"""Who is in the cohort, what the mice do in the maze, and what their neurons are tuned to."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from calm import metrics
from calm.config import CohortConfig
from calm.data.session import Session, prepare
from calm.errors import CalmError
from calm.synthetic import population
from calm.synthetic.ceilings import as_forecasts, known_rates, known_state
from calm.synthetic.cohort import AREA_NEURONS, MICE, plan_cohort
from calm.synthetic.maze import ARM, CYCLE, LONGEST, PLANES, RATE, SHORTEST, STEM, draw_task, run_session, trial_lengths
from calm.synthetic.truth import read_truth, simulate_session

TINY = CohortConfig(session_share=0, neuron_share=0.001, min_neurons=16, trials=12, block=(4, 6))
CONTEXT = 20


def table(plans):
    return pd.DataFrame([dataclasses.asdict(plan) for plan in plans])


def run(trials, *, seed=0, mean=90.0, **numbers):
    return run_session(CohortConfig(trials=trials, **numbers), mean, np.random.default_rng(seed))


def assert_same(one, other):
    """Two results of simulate_session, every array of them."""
    for name in ("number", "position", "velocity"):
        np.testing.assert_array_equal(getattr(one[0], name), getattr(other[0], name))
    np.testing.assert_array_equal(one[1].spikes, other[1].spikes)
    np.testing.assert_array_equal(one[1].rates(2), other[1].rates(2))
    pd.testing.assert_frame_equal(one[0].trials, other[0].trials)
    pd.testing.assert_frame_equal(one[1].population.neurons, other[1].population.neurons)


@pytest.fixture(scope="module")
def plan():
    return plan_cohort(TINY)[5]


@pytest.fixture(scope="module")
def session(plan):
    """Behaviour and truth of one small session."""
    return simulate_session(plan, TINY)


def test_cohort_has_the_sessions_and_neurons_of_tables_1_and_2():
    plans = table(plan_cohort(CohortConfig()))
    assert len(plans) == 286 and plans["neurons"].sum() == 273_770
    mice, areas = plans.groupby("mouse")["neurons"], plans.groupby("area")["neurons"]
    assert mice.size().to_dict() == MICE["sessions"].to_dict()
    assert mice.sum().to_dict() == MICE["neurons"].to_dict()
    assert areas.sum().to_dict() == AREA_NEURONS.to_dict()
    assert areas.size().to_dict() == {"AM": 42, "MM": 41, "PM": 35, "RSC": 55, "V1": 43, "visA": 70}
    assert plans["neurons"].min() > 4 * PLANES


def test_small_cohort_has_every_mouse_area_and_layer():
    plans = table(plan_cohort(CohortConfig(session_share=0, neuron_share=0.01)))
    assert plans.groupby("mouse").size().to_dict() == dict.fromkeys(range(3, 11), 2)
    assert plans.groupby(["area", "layer"]).ngroups == 12
    assert plans["neurons"].min() == CohortConfig().min_neurons


def test_more_sessions_leave_the_others_as_they_are(plan, session):
    few, many = (plan_cohort(TINY.model_copy(update={"session_share": share})) for share in (0, 0.2))
    assert set(few) < set(many)
    assert_same(session, simulate_session(many[many.index(plan)], TINY))


def test_session_follows_from_seed_and_name(plan, session):
    behaviour, truth = simulate_session(plan, TINY.model_copy(update={"seed": 1}))
    assert not np.array_equal(behaviour.number, session[0].number)
    assert not np.array_equal(truth.population.recurrence, session[1].population.recurrence)
    other = simulate_session(dataclasses.replace(plan, name="another"), TINY)[1]
    assert not np.array_equal(other.population.neurons["cue"], session[1].population.neurons["cue"])
    np.testing.assert_array_equal(other.population.recurrence, session[1].population.recurrence)


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


def test_every_plane_has_enough_frames_of_every_trial(session):
    behaviour, truth = session
    for plane in range(PLANES):
        numbers = behaviour.number[plane::CYCLE]
        counts = np.bincount(numbers[np.isfinite(numbers)].astype(int))
        assert counts.min() >= SHORTEST and counts.max() <= LONGEST
        assert np.all(counts >= truth.bounds[:, PLANES]) and np.all(counts - truth.bounds[:, PLANES] <= 1)
        first = [np.flatnonzero(numbers == trial)[0] for trial in range(TINY.trials)]
        np.testing.assert_array_equal(truth.bounds[:, plane], first)


def test_mouse_runs_through_the_stem_into_the_arm_that_it_chooses(session):
    behaviour, _ = session
    for trial in behaviour.trials.itertuples():
        forward, right = behaviour.position[trial.start : trial.choice].T
        assert np.all(np.diff(forward) > 0) and forward[-1] == pytest.approx(STEM + ARM, rel=0.02)
        assert forward[trial.arm - trial.start - 1] <= STEM < forward[trial.arm - trial.start]
        assert (right[-1] < 0) == trial.left
        assert np.isnan(behaviour.position[trial.choice : trial.stop]).all()
        seconds = behaviour.time_from_choice[trial.start : trial.stop]
        assert np.all(np.diff(seconds) == pytest.approx(1 / RATE)) and seconds[trial.choice - trial.start] == 0
    assert np.isnan(behaviour.number[: behaviour.trials["start"][0]]).all()


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
    speed = RATE * np.gradient(behaviour.position[inside, 0])
    np.testing.assert_allclose(behaviour.velocity[inside, 0], speed + behaviour.noise[inside], atol=1e-12)


def test_design_has_cue_on_the_stem_and_choice_up_to_the_arm(session):
    behaviour, truth = session
    for trial in behaviour.trials.itertuples():
        cue, choice = truth.population.design[:, :2].T
        assert np.all(cue[trial.start : trial.arm] == (1 if trial.black else -1))
        assert not cue[trial.arm : trial.stop].any()
        side = 1 if trial.left else -1
        assert np.all(side * choice[trial.arm : trial.choice] == 1)
        assert np.all(np.diff(side * choice[trial.start : trial.arm]) >= 0)
        assert 0 <= side * choice[trial.stop - 1] < 0.05
    assert not truth.population.design[: behaviour.trials["start"][0], :2].any()


@pytest.mark.parametrize("variable", ["cue", "choice", "speed"])
def test_tuning_can_be_recovered_from_the_rates(plan, variable):
    truth = simulate_session(plan, TINY.model_copy(update={"trials": 40, "min_neurons": 40}))[1]
    known = np.column_stack([truth.population.design[::CYCLE], np.tanh(truth.population.latents)])
    drive = np.arctanh(2 * truth.rates(0) / (TINY.max_rate * CYCLE / RATE) - 1)
    weights = truth.population.neurons[variable].iloc[truth.population.plane(0)]
    fitted = LinearRegression().fit(known, drive.T).coef_[:, population.VARIABLES.index(variable)]
    np.testing.assert_allclose(fitted, weights, atol=1e-3)


def test_strengths_and_gains_set_the_tuning(plan):
    config = TINY.model_copy(update={"choice": 0.0, "latent": 0.0, "mouse_spread": 0.0, "session_spread": 0.0})
    gains = population.draw_gains(plan, config)
    expected = (
        config.cue * population.AREA_STRENGTH.loc["cue", plan.area] * population.LAYER_STRENGTH.loc["cue", plan.layer]
    )
    assert gains["cue"] == pytest.approx(expected) and gains["choice"] == 0
    truth = simulate_session(plan, config)[1]
    assert not truth.population.neurons["choice"].any() and not truth.population.loadings.any()
    mice = [population.draw_gains(dataclasses.replace(plan, mouse=mouse), TINY)["cue"] for mouse in (3, 4)]
    assert mice[0] != mice[1]


def recorded(session, *, noise=0.0):
    """The session as a reader yields it: volumes of each trial, planes side by side."""
    _, truth = session
    planes = [truth.traces(plane) for plane in range(PLANES)]
    rng, traces = np.random.default_rng(0), []
    for *first, frames in truth.bounds:
        clean = np.concatenate([planes[k][:, start : start + frames] for k, start in enumerate(first)])
        traces.append(clean + rng.normal(0, noise, clean.shape))
    count = len(truth.population.neurons)
    return Session(
        name=truth.name,
        subject="5",
        rate=6.0,
        traces=tuple(traces),
        behaviour=tuple(np.empty((trace.shape[1], 0)) for trace in traces),
        behaviour_names=(),
        trials=pd.DataFrame({"trial": range(len(traces))}),
        neurons=pd.DataFrame({"neuron": range(count)}),
    )


def changed(truth, trial, spikes):
    """The truth with other spikes behind the context of a trial, in every plane."""
    other = truth.spikes.copy()
    for plane in range(PLANES):
        rows = truth.population.plane(plane)
        other[rows, truth.bounds[trial, plane] + CONTEXT :] = spikes
    return dataclasses.replace(truth, spikes=other)


def test_ceilings_begin_with_the_trace_of_the_context(session):
    raw, trials = recorded(session), np.array([3, 0])
    for ceiling in (known_rates(session[1], trials, CONTEXT), known_state(session[1], trials, CONTEXT, draws=2)):
        for trial, trace in zip(trials, ceiling, strict=True):
            assert trace.shape == raw.traces[trial].shape
            np.testing.assert_allclose(trace[:, :CONTEXT], raw.traces[trial][:, :CONTEXT], atol=1e-5)


def test_a_context_as_long_as_the_trial_gives_its_noise_free_trace(session):
    (trace,) = known_rates(session[1], np.array([7]), 1000)
    np.testing.assert_allclose(trace, recorded(session).traces[7], atol=1e-5)


@pytest.mark.parametrize("ceiling", [known_rates, known_state])
def test_ceilings_use_no_spikes_behind_the_context(session, ceiling):
    before, after = (ceiling(truth, np.array([4]), CONTEXT)[0] for truth in (session[1], changed(session[1], 4, 9)))
    np.testing.assert_array_equal(before, after)


def test_known_rates_filter_the_spikes_of_the_past_and_the_rates_of_the_future(session):
    _, truth = session
    trial, plane = 6, 1
    neurons, start, frames = truth.population.plane(plane), truth.bounds[trial, plane], truth.bounds[trial, PLANES]
    events = truth.spikes[neurons, : start + frames].astype(float)
    events[:, start + CONTEXT :] = truth.rates(plane)[:, start + CONTEXT : start + frames]
    times = np.arange(start + frames) * CYCLE / RATE
    kernel = np.exp(-times / TINY.decay) - np.exp(-times / TINY.rise)
    calcium = np.array([np.convolve(row, kernel)[: start + frames] for row in events])
    table_ = truth.population.neurons.iloc[neurons]
    expected = table_["rest"].to_numpy()[:, None] + table_["amplitude"].to_numpy()[:, None] * calcium
    forecast = known_rates(truth, np.array([trial]), CONTEXT)[0][neurons]
    np.testing.assert_allclose(forecast, expected[:, start:], atol=1e-5)


def test_ceilings_agree_where_nothing_is_left_to_chance(plan):
    truth = simulate_session(plan, TINY.model_copy(update={"latent_noise": 0.0, "speed": 0.0}))[1]
    trials = np.array([1, 2])
    ceilings = known_rates(truth, trials, CONTEXT), known_state(truth, trials, CONTEXT, draws=2)
    for rates, state in zip(*ceilings, strict=True):
        np.testing.assert_allclose(rates, state, atol=5e-3)  # the truth is kept in float32


def test_known_state_knows_less_than_known_rates_and_more_than_nothing(plan):
    session = simulate_session(plan, TINY.model_copy(update={"trials": 30, "latent_noise": 1.0}))
    raw = recorded(session, noise=TINY.imaging_noise)
    prepared = prepare(raw, seed=0, smoothing=0.15)
    trials = np.arange(30)
    future = [prepared.traces[trial][:, CONTEXT:] for trial in trials]
    rates, state = (
        metrics.pooled_mse(future, as_forecasts(ceiling, prepared, trials, CONTEXT, 0.15))
        for ceiling in (known_rates(session[1], trials, CONTEXT), known_state(session[1], trials, CONTEXT))
    )
    assert rates < state < np.mean([np.mean(trace**2) for trace in future])


def test_forecasts_are_smoothed_and_scaled_like_the_session(session):
    raw = recorded(session)
    prepared = prepare(raw, seed=0, smoothing=0.15)
    forecasts = as_forecasts([raw.traces[trial] for trial in (2, 5)], prepared, np.array([2, 5]), CONTEXT, 0.15)
    for trial, forecast in zip((2, 5), forecasts, strict=True):
        np.testing.assert_allclose(forecast, prepared.traces[trial][:, CONTEXT:], atol=1e-5)


def test_blocks_that_are_no_range_are_refused():
    with pytest.raises(ValueError, match="least and the most"):
        CohortConfig(block=(5, 4))


def test_a_file_without_truth_is_refused(tmp_path):
    with pytest.raises(CalmError, match="only calm's synthetic sessions"):
        read_truth(tmp_path / "real.nwb")
