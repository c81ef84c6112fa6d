"""How well the future of a synthetic session can be known, from its truth."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import lfilter

from calm.config.fitting import ForecastConfig
from calm.data.session import Session
from calm.synthetic.maze import CYCLE, NOISE, PLANES, colour_noise
from calm.synthetic.mice import generator
from calm.synthetic.network import expected_spikes, run_network
from calm.synthetic.population import SPEED_SD, VARIABLES
from calm.synthetic.simulation import NOISE_SEED
from calm.synthetic.truth import Truth

MEMORY = 15  # decay times after which a spike has left no trace
SPEED = VARIABLES.index("speed")


def known_rates(
    truth: Truth, trials: Int[np.ndarray, " trial"], context: int
) -> list[Float[np.ndarray, "neuron _frame"]]:
    """Ceiling 1: the spikes of the context and the rates after it are known, nothing else.

    Each trial, by its number in the file, gives its noise-free trace in dF/F, the planes side by side and as long as
    the shortest: the context as its spikes made it, then what the rates lead one to expect. A context as long as the
    trial, or longer, gives the noise-free trace of the spikes, a context of 0 that of the rates.
    """
    rates = [truth.rates(plane) for plane in range(PLANES)]
    return [
        _traces(truth, trial, context, [rates[k][:, ahead] for k, ahead in enumerate(_future(truth, trial, context))])
        for trial in trials.tolist()
    ]


def known_state(
    truth: Truth, trials: Int[np.ndarray, " trial"], context: int, *, draws: int = 32
) -> list[Float[np.ndarray, "neuron _frame"]]:
    """Ceiling 2: at the end of the context, the state of mouse and network is known; all chance after it is averaged.

    The state is that of the recurrent network and of the ball's noise, and what the mouse is about to do: cue, choice,
    way and pace of this trial, which are settled at its start. `draws` runs of network and noise are averaged.
    Arguments and result as in `known_rates`; the context must have one frame or more.
    """
    return [_traces(truth, trial, context, _average_rates(truth, trial, context, draws)) for trial in trials.tolist()]


def cohort_ceilings(
    truth: Truth, session: Session, trials: Int[np.ndarray, " trial"], config: ForecastConfig, smoothing: float
) -> dict[tuple[str, str], list[Float[np.ndarray, "neuron _horizon"]]]:
    """Both ceilings of a session prepared with `smoothing`, by method and variant, like forecasts."""
    numbers = session.trials["trial_number"].to_numpy(int)[trials]
    forecasts = {}
    for name, ceiling in {"known rates": known_rates, "known state": known_state}.items():
        whole = as_forecasts(ceiling(truth, numbers, config.context), session, trials, config.context, smoothing)
        forecasts["ceiling", name] = [trace[:, : config.horizon] for trace in whole]
    return forecasts


def as_forecasts(
    expected: Sequence[Float[np.ndarray, "neuron _frame"]],
    session: Session,
    trials: Int[np.ndarray, " trial"],
    context: int,
    smoothing: float,
) -> list[Float[np.ndarray, "neuron _horizon"]]:
    """Ceilings as forecasts of a prepared session: they go on from its context, smoothed and z-scored like it.

    `expected` are noise-free traces in dF/F, one for each of `trials`.
    """
    mean, sd = (session.neurons[column].to_numpy()[:, None] for column in ("mean", "sd"))
    forecasts = []
    for trial, trace in zip(trials, expected, strict=True):
        last, future = session.traces[trial][:, context - 1], (trace[:, context:] - mean) / sd
        # Smoothing goes on from the last smoothed frame of the context; nothing before it matters.
        forecasts.append(lfilter([smoothing], [1, smoothing - 1], future, zi=(1 - smoothing) * last[:, None])[0])
    return forecasts


def _future(truth: Truth, trial: int, context: int) -> list[slice]:
    """Each plane's volumes of a trial after the context; none if the trial is no longer than that."""
    frames = int(truth.trial_volumes[trial])
    return [slice(start + min(context, frames), start + frames) for start in truth.trial_starts[trial].tolist()]


def _traces(
    truth: Truth, trial: int, context: int, rates: Sequence[Float[np.ndarray, "_neuron horizon"]]
) -> Float[np.ndarray, "neuron frame"]:
    """Noise-free traces of a trial that follow the spikes of the context, then the rates of each plane."""
    memory = int(MEMORY * truth.config.decay / truth.network.dt)
    planes = []
    for plane, ahead in enumerate(_future(truth, trial, context)):
        neurons, start = truth.of_plane(plane), int(truth.trial_starts[trial, plane])
        earliest = max(start - memory, 0)
        spikes = np.concatenate([truth.spikes[neurons, earliest : ahead.start], rates[plane]], axis=1)
        planes.append(truth.fluorescence(plane, spikes)[:, start - earliest :])
    return np.concatenate(planes)


def _average_rates(truth: Truth, trial: int, context: int, draws: int) -> list[Float[np.ndarray, "_neuron horizon"]]:
    """Rates of each plane after the context, averaged over runs from the state in the context's last volume."""
    future = _future(truth, trial, context)
    origin = min(ahead.start for ahead in future) - 1
    steps = max(ahead.stop for ahead in future) - origin
    rng = generator(NOISE_SEED, truth.name, trial)
    start = np.repeat(truth.latents[origin][None].astype(float), draws, axis=0)
    latents = np.moveaxis(run_network(truth.recurrence, start, steps, truth.network, rng), -1, 1)
    design = _simulated_design(truth, origin, steps, draws, rng)
    average = []
    for plane, ahead in enumerate(future):
        steps_ahead = slice(ahead.start - origin, ahead.stop - origin)
        of_plane = design[:, plane::CYCLE][:, steps_ahead]
        state = truth.drive(plane, of_plane, latents[:, steps_ahead])
        average.append(expected_spikes(state, truth.network).mean(axis=0).T)
    return average


def _simulated_design(
    truth: Truth, origin: int, steps: int, draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw image feature"]:
    """The design of some volumes, with other noise on the speed from the first image of the volume `origin` on."""
    scale = NOISE[0] / SPEED_SD
    images = slice(origin * CYCLE, (origin + steps) * CYCLE)
    now = np.full(draws, truth.noise[origin * CYCLE] / scale)
    later = colour_noise(rng.normal(size=(draws, steps * CYCLE - 1)), now)
    design = np.repeat(truth.design[None, images].astype(float), draws, axis=0)
    design[:, :, SPEED] += scale * np.column_stack([now, later]) - truth.noise[images]
    return design
