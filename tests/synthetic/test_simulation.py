"""The simulation against closed forms, and what its ceilings may and may not know."""

import dataclasses

import numpy as np
import pytest

from calm import metrics
from calm.config.synthetic import SimulationConfig
from calm.data.preparation import prepare
from calm.synthetic import network
from calm.synthetic import simulation as simulations

CONTEXT = 15


def kernel(times, config):
    """Eq. 18 with the sign that makes transients positive."""
    return np.exp(-times / config.decay) - np.exp(-times / config.rise)


def ceilings(simulation, *, trials=None, **options):
    """Session, trials and both ceilings (known rates, known state)."""
    session = prepare(simulation.session, seed=0)
    trials = session.trials_of("test") if trials is None else trials
    rates = simulations.forecast_known_rates(simulation, session, trials, CONTEXT)
    state = simulations.forecast_known_state(simulation, session, trials, CONTEXT, **options)
    return session, trials, rates, state


def test_uncoupled_traces_have_the_moments_of_filtered_poisson_noise():
    config = SimulationConfig(
        trials=400, neurons=50, frames=60, gain=0, initial_variance=0, noise_variance=0, imaging_noise=0.5
    )
    simulation = simulations.simulate(config, seed=0)
    last = np.concatenate([trace[:, -1] for trace in simulation.session.traces])
    shape = kernel(np.arange(config.frames) * config.dt, config)
    rate = 0.5 * config.dt * config.max_rate
    variance = rate * (shape**2).sum() + config.imaging_noise**2
    fourth_cumulant = rate * (shape**4).sum()
    assert not simulation.weights.any() and not simulation.state.any()
    assert last.mean() == pytest.approx(rate * shape.sum(), abs=4 * np.sqrt(variance / last.size))
    assert last.var() == pytest.approx(variance, abs=4 * np.sqrt((fourth_cumulant + 2 * variance**2) / last.size))


@pytest.mark.parametrize("when", [0, 7])
def test_one_spike_leaves_a_positive_kernel(when):
    config = SimulationConfig()
    spikes = np.zeros((2, 100))
    spikes[1, when] = 1
    trace = network.convolve(spikes, config)
    times = np.arange(100 - when) * config.dt
    np.testing.assert_allclose(trace[1, when:], kernel(times, config), atol=1e-12)
    assert np.all(trace[1, when + 1 :] > 0) and not trace[1, :when].any() and not trace[0].any()


def test_euler_step_is_equation_1():
    config = SimulationConfig(dt=0.2, tau=0.5)
    state, noise = np.array([0.5, -1.0]), np.array([0.1, 0.2])
    weights = np.array([[0.0, 2.0], [-3.0, 1.0]])
    expected = [
        0.5 + 0.2 / 0.5 * (-0.5 + 2.0 * np.tanh(-1.0) + 0.1),
        -1.0 + 0.2 / 0.5 * (1.0 - 3.0 * np.tanh(0.5) + 1.0 * np.tanh(-1.0) + 0.2),
    ]
    np.testing.assert_allclose(network.step(state, weights, noise, config), expected, rtol=1e-14)


def test_network_takes_one_step_per_frame():
    config = SimulationConfig(noise_variance=0)
    rng = np.random.default_rng(0)
    weights, start = rng.normal(size=(4, 4)), rng.normal(size=(3, 4))
    states = network.run_network(weights, start, 5, config, rng)
    np.testing.assert_array_equal(states[..., 0], start)
    for frame in range(4):
        np.testing.assert_array_equal(
            states[..., frame + 1], network.step(states[..., frame], weights, np.zeros((3, 4)), config)
        )


def test_rates_lie_between_zero_and_the_maximum():
    config = SimulationConfig(dt=0.2, max_rate=5.0)
    np.testing.assert_allclose(network.expected_spikes(np.array([-50.0, 0.0, 50.0]), config), [0, 0.5, 1])


def test_coupling_has_variance_gain_squared_over_neurons():
    config = SimulationConfig(trials=1, neurons=100, frames=1, gain=1.6)
    weights = simulations.simulate(config, seed=0).weights
    expected = 1.6**2 / 100
    assert weights.var() == pytest.approx(expected, abs=4 * expected * np.sqrt(2 / weights.size))


def test_session_follows_from_the_seed(simulation):
    again = simulations.simulate(simulation.config, seed=0)
    other = simulations.simulate(simulation.config, seed=1)
    assert again.session.fingerprint() == simulation.session.fingerprint()
    assert not np.array_equal(other.weights, simulation.weights)
    assert not np.array_equal(other.session.traces[0], simulation.session.traces[0])


def test_trials_share_the_network_but_neither_start_nor_noise(simulation):
    assert len({trace.tobytes() for trace in simulation.session.traces}) == simulation.config.trials
    assert len(np.unique(simulation.state[..., 0])) == simulation.config.trials * simulation.config.neurons


def test_knowing_the_rates_is_worth_at_least_as_much_as_knowing_the_state():
    config = SimulationConfig(trials=100, neurons=20, frames=40, noise_variance=1.0)
    session, trials, rates, state = ceilings(simulations.simulate(config, seed=0), trials=np.arange(100))
    future = [session.traces[trial][:, CONTEXT:] for trial in trials]
    assert metrics.trial_mse(*map(np.concatenate, (future, rates))) < metrics.trial_mse(
        *map(np.concatenate, (future, state))
    )


def test_ceilings_agree_without_state_noise():
    config = SimulationConfig(trials=10, neurons=20, frames=40, noise_variance=0)
    _, _, rates, state = ceilings(simulations.simulate(config, seed=0), draws=2)
    np.testing.assert_allclose(rates, state, atol=1e-9)


def test_ceilings_are_the_trace_itself_where_chance_averages_out():
    config = SimulationConfig(trials=10, neurons=5, frames=40, noise_variance=0, max_rate=1e10)
    session, trials, rates, state = ceilings(simulations.simulate(config, seed=0), draws=1)
    future = [session.traces[trial][:, CONTEXT:] for trial in trials]
    np.testing.assert_allclose(rates, future, atol=1e-2)
    np.testing.assert_allclose(state, future, atol=1e-2)


@pytest.mark.parametrize("ceiling", [2, 3])
def test_ceilings_use_no_spikes_after_the_context(simulation, ceiling):
    changed = simulation.spikes.copy()
    changed[..., CONTEXT:] += 10
    before, after = (
        ceilings(dataclasses.replace(simulation, spikes=spikes), draws=2)[ceiling]
        for spikes in (simulation.spikes, changed)
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("ceiling", [2, 3])
def test_ceilings_use_the_spikes_of_the_context(simulation, ceiling):
    changed = simulation.spikes.copy()
    changed[..., CONTEXT - 1] += 10
    before, after = (
        ceilings(dataclasses.replace(simulation, spikes=spikes), draws=2)[ceiling]
        for spikes in (simulation.spikes, changed)
    )
    assert np.all(np.array(after) > np.array(before))


def test_known_state_uses_no_state_but_the_last_of_the_context(simulation):
    changed = simulation.state.copy()
    changed[..., CONTEXT:] = np.nan
    changed[..., : CONTEXT - 1] = np.nan
    before, after = (
        ceilings(dataclasses.replace(simulation, state=state), draws=2)[3] for state in (simulation.state, changed)
    )
    np.testing.assert_array_equal(before, after)


def test_ceilings_follow_the_order_of_the_trials(simulation):
    backward = np.array([7, 3, 5])
    _, _, rates, _ = ceilings(simulation, trials=backward)
    for trial, forecast in zip(backward, rates, strict=True):
        np.testing.assert_array_equal(forecast, ceilings(simulation, trials=np.array([trial]))[2][0])
        assert forecast.shape == (simulation.config.neurons, simulation.config.frames - CONTEXT)
