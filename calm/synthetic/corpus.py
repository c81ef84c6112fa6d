"""The broad synthetic recordings that shipped weights are pretrained on; every draw follows from a seed, no files."""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float

from calm.config.base import Range
from calm.config.synthetic import CorpusConfig, SimulationConfig
from calm.data.preparation import prepare
from calm.data.session import Session
from calm.synthetic.network import run_network
from calm.synthetic.traces import draw_spikes, fluorescence, ornstein_uhlenbeck, rates_of, signal_size

EVENTS = 6  # moments of a trial that neurons of a task are tuned to
CONDITIONS = 2  # of its trials
LATENT_NOISE = 1.0  # variance
FREQUENCY_SPREAD = 0.3  # sd over time of the frequency of an oscillation, in its mean
REST = 5.0  # fluorescence between spikes, in heights of one


@dataclasses.dataclass(frozen=True)
class Layout:
    """How large a recording is: neurons, trials, frames of each trial, and frames/s."""

    neurons: int
    trials: int
    trial_frames: int
    rate: float

    @property
    def frames(self) -> int:
        """Of all trials."""
        return self.trials * self.trial_frames


def draw_corpus(config: CorpusConfig, *, seed: int) -> list[Session]:
    """All recordings, prepared as a user's are; another seed has other ones."""
    return [draw_recording(config, seed, number) for number in range(config.recordings)]


def draw_recording(config: CorpusConfig, seed: int, number: int) -> Session:
    """One prepared recording. Its neuron table has the truth of each neuron, `subject` says what drives them."""
    rng = np.random.default_rng([seed, number])
    layout = Layout(
        neurons=draw_count(config.neurons, rng),
        trials=int(rng.integers(config.trials[0], config.trials[1] + 1)),
        trial_frames=draw_count(config.frames, rng),
        rate=draw_number(config.rate, rng),
    )
    neurons = draw_neurons(layout.neurons, config, rng)
    activity = str(rng.choice(["independent", *SHARED]))
    traces = record(neurons, draw_drive(activity, layout, config, rng), layout, config, rng)
    session = Session(
        name=f"synthetic-{seed}-{number}",
        subject=activity,
        rate=layout.rate,
        traces=tuple(np.split(traces, layout.trials, axis=1)),
        behaviour=tuple(np.empty((layout.trial_frames, 0)) for _ in range(layout.trials)),
        behaviour_names=(),
        trials=pd.DataFrame({"trial": range(layout.trials)}),
        neurons=neurons,
    )
    smoothed = rng.random() < config.smoothing_share
    return prepare(session, seed=seed, smoothing=draw_number(config.smoothing, rng) if smoothed else 1.0)


def log_uniform(bounds: Range, rng: np.random.Generator, count: int) -> Float[np.ndarray, " draw"]:
    """Numbers spread evenly on a log scale."""
    return np.exp(rng.uniform(*np.log(bounds), count))


def draw_number(bounds: Range, rng: np.random.Generator) -> float:
    """One number of a range."""
    return float(log_uniform(bounds, rng, 1)[0])


def draw_count(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    """One integer of a range, its bounds included."""
    return int(draw_number((float(bounds[0]), float(bounds[1] + 1)), rng))


def draw_neurons(count: int, config: CorpusConfig, rng: np.random.Generator) -> pd.DataFrame:
    """A row for each neuron.

    `rise` and `decay` in s, `spike_rate` per s, `threshold` in sd of the drive, `burst` in spikes, `noise` and `drift`
    as their sd in sd of the signal.
    """
    spread = np.exp(rng.normal(0, config.kinetics_spread, (2, count)))
    return pd.DataFrame(
        {
            "rise": draw_number(config.rise, rng) * spread[0],
            "decay": draw_number(config.decay, rng) * spread[1],
            "spike_rate": log_uniform(config.spike_rate, rng, count) * (rng.random(count) >= config.silent),
            "threshold": rng.uniform(*config.threshold, count),
            "burst": log_uniform(config.burst, rng, count),
            "noise": rng.uniform(*config.noise, count),
            "drift": log_uniform(config.drift, rng, count) * (rng.random(count) < config.drift_share),
        }
    )


def draw_drive(
    activity: str, layout: Layout, config: CorpusConfig, rng: np.random.Generator
) -> Float[np.ndarray, "neuron frame"]:
    """What makes neurons fire, with unit variance: noise of their own, and with it what they share."""
    private = ornstein_uhlenbeck(log_uniform(config.drive_tau, rng, layout.neurons), layout.frames, layout.rate, rng)
    if activity not in SHARED:
        return private
    shared = SHARED[activity](layout, config, rng)
    share = rng.random()
    return np.sqrt(share) * shared / shared.std(axis=1, keepdims=True) + np.sqrt(1 - share) * private


def recurrent_drive(
    layout: Layout, config: CorpusConfig, rng: np.random.Generator
) -> Float[np.ndarray, "neuron frame"]:
    """Random mixtures of the units of a recurrent network (Eq. 1)."""
    units, dt = draw_count(config.latents, rng), 1 / layout.rate
    weights = rng.normal(0, rng.uniform(*config.gain) / np.sqrt(units), (units, units))
    tau = max(draw_number(config.drive_tau, rng), 2 * dt)  # where Euler's steps are stable
    network = SimulationConfig(neurons=units, dt=dt, tau=tau, noise_variance=LATENT_NOISE)
    states = run_network(weights, rng.normal(size=(1, units)), layout.frames, network, rng)[0]
    return rng.normal(size=(layout.neurons, units)) @ np.tanh(states)


def task_drive(layout: Layout, config: CorpusConfig, rng: np.random.Generator) -> Float[np.ndarray, "neuron frame"]:
    """Bumps at EVENTS moments of every trial, as high as each neuron's tuning to them in the trial's condition."""
    times = np.arange(layout.trial_frames) / layout.rate
    centres = rng.uniform(0, times[-1], (EVENTS, 1))
    bumps = np.exp(-(((times - centres) / log_uniform(config.drive_tau, rng, EVENTS)[:, None]) ** 2) / 2)
    tuning = rng.normal(size=(CONDITIONS, layout.neurons, EVENTS)) @ bumps
    return np.concatenate(tuning[rng.integers(CONDITIONS, size=layout.trials)], axis=1)


def oscillating_drive(
    layout: Layout, config: CorpusConfig, rng: np.random.Generator
) -> Float[np.ndarray, "neuron frame"]:
    """One oscillation, whose frequency wanders; every neuron has a phase of its own."""
    period = draw_number(config.period, rng)
    wandering = 1 + FREQUENCY_SPREAD * ornstein_uhlenbeck(np.array([3 * period]), layout.frames, layout.rate, rng)
    phase = 2 * np.pi / (layout.rate * period) * np.cumsum(wandering)
    return np.sin(phase + rng.uniform(0, 2 * np.pi, (layout.neurons, 1)))


SHARED = {"recurrent": recurrent_drive, "task": task_drive, "oscillating": oscillating_drive}


def record(
    neurons: pd.DataFrame,
    drive: Float[np.ndarray, "neuron frame"],
    layout: Layout,
    config: CorpusConfig,
    rng: np.random.Generator,
) -> Float[np.ndarray, "neuron frame"]:
    """Fluorescence in heights of a spike: signal, neuropil, drift, bleaching and noise."""
    column = {name: values.to_numpy() for name, values in neurons.items()}
    rates = rates_of(drive, column["threshold"], column["spike_rate"])
    spikes = draw_spikes(rates, layout.rate, column["burst"], rng)
    saturation = draw_number(config.saturation, rng)
    signal = fluorescence(spikes, layout.frames, layout.rate, column["rise"], column["decay"], saturation)
    size = signal_size(signal)
    slow = ornstein_uhlenbeck(log_uniform(config.drift_tau, rng, layout.neurons), layout.frames, layout.rate, rng)
    traces = signal + size * (column["drift"][:, None] * slow + neuropil(layout, config, rng))
    if rng.random() < config.drift_share:
        seconds = np.arange(layout.frames) / layout.rate
        traces = (REST + traces) * np.exp(-seconds / draw_number(config.bleaching, rng))
    return traces + size * column["noise"][:, None] * rng.normal(size=traces.shape)


def neuropil(layout: Layout, config: CorpusConfig, rng: np.random.Generator) -> Float[np.ndarray, "1 frame"]:
    """What all neurons share of the tissue around them, in sd of their signals; zero where it was subtracted."""
    tau = np.array([draw_number(config.drive_tau, rng)])
    size = draw_number(config.neuropil, rng) * (rng.random() < config.neuropil_share)
    return size * ornstein_uhlenbeck(tau, layout.frames, layout.rate, rng)
