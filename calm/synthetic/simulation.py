"""Simulated sessions of App. A, networks seen through calcium, and how well their future can be known."""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.config.synthetic import SimulationConfig
from calm.data.session import Session
from calm.synthetic.network import convolve, expected_spikes, run_network

NOISE_SEED = 20_260_404  # of the noise that the known-state ceiling averages over; no network should share it


@dataclasses.dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated session with its hidden truth.

    Attributes:
        session: the traces as an experimenter has them.
        weights: recurrent coupling W, fixed within the session.
        state: r of every trial, neuron and frame.
        spikes: their number in every trial, neuron and frame.
        config: the numbers behind all of it.
    """

    session: Session
    weights: Float[np.ndarray, "neuron neuron"]
    state: Float[np.ndarray, "trial neuron frame"]
    spikes: Int[np.ndarray, "trial neuron frame"]
    config: SimulationConfig


def simulate(config: SimulationConfig, seed: int) -> Simulation:
    """One session of App. A: `config.trials` trials of one network with coupling W_ij ~ N(0, gain^2 / neurons)."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, config.gain / np.sqrt(config.neurons), (config.neurons, config.neurons))
    start = rng.normal(0, np.sqrt(config.initial_variance), (config.trials, config.neurons))
    state = run_network(weights, start, config.frames, config, rng)
    spikes = rng.poisson(expected_spikes(state, config))
    traces = convolve(spikes.astype(float), config) + rng.normal(0, config.imaging_noise, spikes.shape)
    session = Session(
        name=f"simulation-{seed}",
        subject=f"network-{seed}",
        rate=1 / config.dt,
        traces=tuple(traces),
        behaviour=tuple(np.empty((config.frames, 0)) for _ in range(config.trials)),
        behaviour_names=(),
        trials=pd.DataFrame({"trial": range(config.trials)}),
        neurons=pd.DataFrame({"neuron": range(config.neurons)}),
    )
    return Simulation(session=session, weights=weights, state=state, spikes=spikes, config=config)


def forecast_known_rates(
    simulation: Simulation, session: Session, trials: Int[np.ndarray, " trial"], context: int
) -> list[Float[np.ndarray, "neuron horizon"]]:
    """Ceiling 1: the true rates after the context are known, not their spikes; z-scored as the prepared session."""
    expected = expected_spikes(simulation.state[trials], simulation.config)
    return _traces_from(simulation, session, trials, expected[..., context:])


def forecast_known_state(
    simulation: Simulation, session: Session, trials: Int[np.ndarray, " trial"], context: int, *, draws: int = 32
) -> list[Float[np.ndarray, "neuron horizon"]]:
    """Ceiling 2: W and the state at the end of the context are known, later noise is averaged over `draws` runs."""
    config, rng = simulation.config, np.random.default_rng(NOISE_SEED)
    start = simulation.state[trials, :, context - 1]
    frames = simulation.state.shape[-1] - context + 1
    total = np.zeros((len(trials), config.neurons, frames - 1))
    for _ in range(draws):
        total += expected_spikes(run_network(simulation.weights, start, frames, config, rng)[..., 1:], config)
    return _traces_from(simulation, session, trials, total / draws)


def _traces_from(
    simulation: Simulation,
    session: Session,
    trials: Int[np.ndarray, " trial"],
    expected: Float[np.ndarray, "trial neuron horizon"],
) -> list[Float[np.ndarray, "neuron horizon"]]:
    """Z-scored traces that follow the spikes of the context and then the expected spikes."""
    horizon = expected.shape[-1]
    past = simulation.spikes[trials][..., : simulation.spikes.shape[-1] - horizon]
    traces = convolve(np.concatenate([past, expected], axis=-1), simulation.config)[..., -horizon:]
    mean, sd = (session.neurons[column].to_numpy()[:, None] for column in ("mean", "sd"))
    return list((traces - mean) / sd)
