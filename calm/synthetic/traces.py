"""From the drive of neurons to fluorescence: spikes, any indicator, and what a microscope adds."""

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import lfilter

LONGEST_STEP = 0.02  # s between the moments at which spikes can happen
STEEPNESS = 3.0  # of the soft threshold of the rate
SIGNAL_FLOOR = 0.1  # heights of a spike: the least that noise is measured by, where there is hardly a spike


def ornstein_uhlenbeck(
    tau: Float[np.ndarray, " neuron"], frames: int, rate: float, rng: np.random.Generator
) -> Float[np.ndarray, "neuron frame"]:
    """Noise of unit variance that forgets itself over `tau` s, stationary from its first frame on."""
    kept = np.exp(-1 / (rate * tau))
    noise = rng.normal(size=(len(tau), frames)) * np.sqrt(1 - kept**2)[:, None]
    noise[:, 0] /= np.sqrt(1 - kept**2)
    return np.stack([lfilter([1.0], [1.0, -each], row) for each, row in zip(kept, noise, strict=True)])


def rates_of(
    drive: Float[np.ndarray, "neuron frame"],
    threshold: Float[np.ndarray, " neuron"],
    mean: Float[np.ndarray, " neuron"],
) -> Float[np.ndarray, "neuron frame"]:
    """Spikes/s above a soft threshold of the drive, scaled to the mean of each neuron."""
    above = np.logaddexp(0, STEEPNESS * (drive - threshold[:, None]))
    return above * (mean / above.mean(axis=1))[:, None]


def draw_spikes(
    rates: Float[np.ndarray, "neuron frame"],
    rate: float,
    burst: Float[np.ndarray, " neuron"],
    rng: np.random.Generator,
) -> Int[np.ndarray, "neuron step"]:
    """Spikes in steps of a frame, none longer than LONGEST_STEP: Poisson events of `burst` spikes on average."""
    steps = int(np.ceil(1 / (rate * LONGEST_STEP)))
    expected = (rates / (rate * steps) / burst[:, None]).repeat(steps, axis=1)
    events = rng.poisson(expected)
    return events + rng.poisson(events * (burst[:, None] - 1))


def fluorescence(
    spikes: Int[np.ndarray, "neuron step"],
    frames: int,
    rate: float,
    rise: Float[np.ndarray, " neuron"],
    decay: Float[np.ndarray, " neuron"],
    saturation: float,
) -> Float[np.ndarray, "neuron frame"]:
    """The signal of an indicator at the end of every frame, in heights of one spike's.

    A spike adds (1 - exp(-t/rise)) exp(-t/decay), scaled to a height of 1. The sum c saturates: c / (1 + c/saturation).
    """
    steps = spikes.shape[1] // frames
    step = 1 / (rate * steps)
    slow, fast = np.exp(-step / decay), np.exp(-step * (1 / decay + 1 / rise))
    share = decay / (decay + rise)
    height = share * (1 - share) ** (rise / decay)
    calcium = [
        lfilter([1.0], [1.0, -late], row)[steps - 1 :: steps] - lfilter([1.0], [1.0, -early], row)[steps - 1 :: steps]
        for late, early, row in zip(slow, fast, spikes.astype(float), strict=True)
    ]
    calcium = np.stack(calcium) / height[:, None]
    return calcium / (1 + calcium / saturation)


def signal_size(signal: Float[np.ndarray, "neuron frame"]) -> Float[np.ndarray, "neuron 1"]:
    """The sd of each neuron's signal, which noise, neuropil and drift are measured by."""
    return np.maximum(signal.std(axis=1, keepdims=True), SIGNAL_FLOOR)
