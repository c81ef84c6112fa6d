"""How well the future of a synthetic session can be known (spec 1.4), from its truth."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import lfilter

from calm.config import ForecastConfig
from calm.data.session import Session
from calm.synthetic.cohort import generator
from calm.synthetic.maze import CYCLE, NOISE, PLANES, colour_noise
from calm.synthetic.network import NOISE_SEED, expected_spikes, run_network
from calm.synthetic.population import SPEED_SD, VARIABLES, drive, network_config
from calm.synthetic.truth import Truth

MEMORY = 15  # decay times after which a spike has left no trace
SPEED = VARIABLES.index("speed")


def known_rates(
    truth: Truth, trials: Int[np.ndarray, " part"], context: int
) -> list[Float[np.ndarray, "neuron _frame"]]:
    """Ceiling 1: the spikes of the context and the rates behind it are known, nothing else.

    Args:
        truth: of the session.
        trials: their numbers in the file.
        context: frames.

    Returns:
        Each trial's noise-free trace in dF/F, the planes side by side and as long as the shortest: the context as its
        spikes made it, then what the rates lead one to expect. A context as long as the trial, or longer, gives the
        noise-free trace of the spikes, a context of 0 that of the rates.
    """
    rates = [truth.rates(plane) for plane in range(PLANES)]
    return [
        _traces(truth, trial, context, [rates[k][:, rows] for k, rows in _future(truth, trial, context)])
        for trial in trials.tolist()
    ]


def known_state(
    truth: Truth, trials: Int[np.ndarray, " part"], context: int, *, draws: int = 32
) -> list[Float[np.ndarray, "neuron _frame"]]:
    """Ceiling 2: at the end of the context, the state of mouse and network is known; all chance behind it is averaged.

    The state is that of the recurrent network and of the ball's noise, and what the mouse is about to do: cue, choice,
    way and pace of this trial, which are settled at its start. `draws` runs of network and noise are averaged.
    Arguments and result as in `known_rates`; the context must have one frame or more.
    """
    numbers = trials.tolist()
    return [_traces(truth, trial, context, _average_rates(truth, trial, context, draws)) for trial in numbers]


def cohort_ceilings(
    truth: Truth, session: Session, trials: Int[np.ndarray, " part"], config: ForecastConfig, smoothing: float
) -> dict[tuple[str, str], list[Float[np.ndarray, "neuron _horizon"]]]:
    """Both ceilings beside the forecasts of the methods, by method and variant.

    Args:
        truth: of the session.
        session: prepared.
        trials: indices of its trials.
        config: context and horizon.
        smoothing: what the session was prepared with.
    """
    numbers = session.trials["trial_number"].to_numpy(int)[trials]
    ceilings = {"known rates": known_rates, "known state": known_state}
    forecasts = {}
    for name, ceiling in ceilings.items():
        expected = ceiling(truth, numbers, config.context)
        whole = as_forecasts(expected, session, trials, config.context, smoothing)
        forecasts["ceiling", name] = [trace[:, : config.horizon] for trace in whole]
    return forecasts


def as_forecasts(
    expected: Sequence[Float[np.ndarray, "neuron _frame"]],
    session: Session,
    trials: Int[np.ndarray, " part"],
    context: int,
    smoothing: float,
) -> list[Float[np.ndarray, "neuron _horizon"]]:
    """Ceilings as forecasts of a prepared session: they go on from its context, smoothed and z-scored like it.

    Args:
        expected: noise-free traces in dF/F, one for each of `trials`.
        session: prepared.
        trials: indices of its trials.
        context: frames.
        smoothing: what the session was prepared with.
    """
    mean, sd = (session.neurons[column].to_numpy()[:, None] for column in ("mean", "sd"))
    forecasts = []
    for trial, trace in zip(trials, expected, strict=True):
        last, future = session.traces[trial][:, context - 1], (trace[:, context:] - mean) / sd
        # Smoothing goes on from the last smoothed frame of the context; nothing before it matters.
        forecasts.append(lfilter([smoothing], [1, smoothing - 1], future, zi=(1 - smoothing) * last[:, None])[0])
    return forecasts


def _future(truth: Truth, trial: int, context: int) -> list[tuple[int, slice]]:
    """Each plane, and its rows of a trial behind the context; none if the trial is no longer than that."""
    *first, frames = truth.bounds[trial].tolist()
    return [(plane, slice(start + min(context, frames), start + frames)) for plane, start in enumerate(first)]


def _traces(
    truth: Truth, trial: int, context: int, rates: Sequence[Float[np.ndarray, "_neuron horizon"]]
) -> Float[np.ndarray, "neuron frame"]:
    """Noise-free traces of a trial that follow the spikes of the context, then the rates of each plane."""
    memory = int(MEMORY * truth.config.decay / network_config(truth.config).dt)
    parts = []
    for plane, rows in _future(truth, trial, context):
        neurons, start = truth.population.plane(plane), int(truth.bounds[trial, plane])
        earliest = max(start - memory, 0)
        spikes = np.concatenate([truth.spikes[neurons, earliest : rows.start], rates[plane]], axis=1)
        parts.append(truth.fluorescence(neurons, spikes)[:, start - earliest :])
    return np.concatenate(parts)


def _average_rates(truth: Truth, trial: int, context: int, draws: int) -> list[Float[np.ndarray, "_neuron horizon"]]:
    """Rates of each plane behind the context, averaged over runs from the state in the context's last volume."""
    population, network = truth.population, network_config(truth.config)
    future = _future(truth, trial, context)
    origin = min(rows.start for _, rows in future) - 1
    steps = max(rows.stop for _, rows in future) - origin
    rng = generator(NOISE_SEED, truth.name, trial)
    start = np.repeat(population.latents[origin][None].astype(float), draws, axis=0)
    latents = np.moveaxis(run_network(population.recurrence, start, steps, network, rng), -1, 1)
    design = _simulated_design(truth, origin, steps, draws, rng)
    average = []
    for plane, rows in future:
        ahead = slice(rows.start - origin, rows.stop - origin)
        state = drive(population, population.plane(plane), design[:, plane::CYCLE][:, ahead], latents[:, ahead])
        average.append(expected_spikes(state, network).mean(axis=0).T)
    return average


def _simulated_design(
    truth: Truth, origin: int, steps: int, draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw frame feature"]:
    """The design of some volumes, with other noise on the speed from the first frame of the volume `origin` on."""
    population, scale = truth.population, NOISE[0] / SPEED_SD
    frames = slice(origin * CYCLE, (origin + steps) * CYCLE)
    now = np.full(draws, population.noise[origin * CYCLE] / scale)
    later = colour_noise(rng.normal(size=(draws, steps * CYCLE - 1)), now)
    design = np.repeat(population.design[None, frames].astype(float), draws, axis=0)
    design[:, :, SPEED] += scale * np.column_stack([now, later]) - population.noise[frames]
    return design
