"""A recurrent rate network seen through calcium: dynamics (Eq. 1), spikes (Eq. 17), fluorescence (Eq. 18)."""

import numpy as np
from jaxtyping import Float
from scipy.signal import lfilter

from calm.config.synthetic import SimulationConfig


def step(
    state: Float[np.ndarray, "*trial neuron"],
    weights: Float[np.ndarray, "neuron neuron"],
    noise: Float[np.ndarray, "*trial neuron"],
    config: SimulationConfig,
) -> Float[np.ndarray, "*trial neuron"]:
    """One Euler step of tau dr/dt = -r + W tanh(r) + xi (Eq. 1); the paper names no integrator."""
    return state + config.dt / config.tau * (-state + np.tanh(state) @ weights.T + noise)


def expected_spikes(state: Float[np.ndarray, "*shape"], config: SimulationConfig) -> Float[np.ndarray, "*shape"]:
    """Mean spike count of a frame, (tanh(r) + 1)/2 dt lambda_max (Eq. 17)."""
    return (np.tanh(state) + 1) / 2 * config.dt * config.max_rate


def convolve(spikes: Float[np.ndarray, "*shape frame"], config: SimulationConfig) -> Float[np.ndarray, "*shape frame"]:
    """Spikes filtered with k(t) = exp(-t/decay) - exp(-t/rise), t >= 0 (Eq. 18).

    As printed the two terms are swapped, which would make transients negative; this is the positive kernel.
    """
    slow, fast = np.exp(-config.dt / config.decay), np.exp(-config.dt / config.rise)
    return lfilter([1.0], [1.0, -slow], spikes) - lfilter([1.0], [1.0, -fast], spikes)


def run_network(
    weights: Float[np.ndarray, "neuron neuron"],
    start: Float[np.ndarray, "trial neuron"],
    frames: int,
    config: SimulationConfig,
    rng: np.random.Generator,
) -> Float[np.ndarray, "trial neuron frame"]:
    """States of the network from `start` (the first frame returned) on."""
    states = [start]
    for _ in range(frames - 1):
        noise = rng.normal(0, np.sqrt(config.noise_variance), start.shape)
        states.append(step(states[-1], weights, noise, config))
    return np.stack(states, axis=-1)
