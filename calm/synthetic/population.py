"""The synthetic neurons: tuning to the task, a shared recurrent network, and what their rates depend on."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from calm.config.synthetic import CohortConfig, SimulationConfig
from calm.synthetic.maze import ARM, CYCLE, IMAGE_RATE, PLANES, STEM, Behaviour
from calm.synthetic.mice import SessionPlan, generator
from calm.synthetic.network import run_network

VOLUME = CYCLE / IMAGE_RATE  # s from one image of a plane to its next
PLACES = np.linspace(0, STEM + ARM, 8)  # m forward; where the position bumps have their peaks
PLACE_WIDTH = 0.25  # m, sd of a bump
VARIABLES = ("cue", "choice", "speed")  # columns of the design in front of the bumps
CHOICE_MEMORY = 0.5  # s in which the choice is forgotten
MEAN_SPEED, SPEED_SD = 0.2, 0.15  # m/s that the speed column is scaled by; about those of the trials
SOURCES = ("cue", "choice", "position", "speed", "latent")
# All invented. The order follows the gradients of Tseng et al. 2022: the cue is strongest in visual, position and
# choice in retrosplenial, running in parietal areas (visA and MM).
AREA_STRENGTH = pd.DataFrame(
    {
        "V1": [1.0, 0.4, 0.5, 0.5, 0.8],
        "PM": [0.8, 0.7, 0.7, 0.5, 0.8],
        "AM": [0.7, 0.6, 0.6, 0.7, 0.9],
        "visA": [0.6, 0.5, 0.6, 1.0, 0.9],
        "MM": [0.5, 0.7, 0.8, 0.9, 1.0],
        "RSC": [0.4, 1.0, 1.0, 0.6, 1.0],
    },
    index=SOURCES,
)
LAYER_STRENGTH = pd.DataFrame({"L23": [1.0, 0.8, 1.0, 0.7, 0.9], "L5": [0.7, 1.0, 0.9, 1.0, 1.0]}, index=SOURCES)
LAYER_BASELINE = {"L23": -0.1, "L5": 0.1}  # of the drive: deep neurons fire more
BASELINE_SPREAD = 0.3  # sd over neurons
AMPLITUDE, AMPLITUDE_SPREAD = 0.4, 0.3  # dF/F of a spike: median, sd of the log
LOWEST, HIGHEST = 0.02, 0.3  # dF/F at rest, over neurons


def draw_population(plan: SessionPlan, behaviour: Behaviour, config: CohortConfig) -> dict[str, Any]:
    """What sets the rates of a session whose behaviour is known, in the fields of `calm.synthetic.truth.Truth`."""
    gains = draw_gains(plan, config)
    network = network_config(config)
    shape = (config.latents, config.latents)
    recurrence = generator(config.seed, "recurrence").normal(0, config.latent_gain / np.sqrt(config.latents), shape)
    rng = generator(config.seed, plan.name, "latents")
    start = rng.normal(0, np.sqrt(network.initial_variance), (1, config.latents))
    latents = run_network(recurrence, start, behaviour.images // CYCLE, network, rng)[0].T
    sd = gains["latent"] / np.sqrt(config.latents)
    loadings = generator(config.seed, plan.name, "loadings").normal(0, sd, (config.latents, plan.neurons))
    arrays = {"recurrence": recurrence, "loadings": loadings, "latents": latents}
    arrays |= {"design": design_matrix(behaviour), "noise": behaviour.noise / SPEED_SD}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}  # as they are kept
    return {"neurons": draw_neurons(plan, gains, config), **arrays}


def network_config(config: CohortConfig) -> SimulationConfig:
    """The numbers of Eq. 1, 17 and 18, with a step of one volume."""
    return SimulationConfig(
        neurons=config.latents,
        dt=VOLUME,
        tau=config.latent_tau,
        gain=config.latent_gain,
        noise_variance=config.latent_noise,
        max_rate=config.max_rate,
        rise=config.rise,
        decay=config.decay,
        imaging_noise=config.imaging_noise,
    )


def draw_gains(plan: SessionPlan, config: CohortConfig) -> pd.Series:
    """Sd of the neurons' tuning to each of SOURCES: by area and layer, and by chance by mouse and session."""
    strength = pd.Series({source: getattr(config, source) for source in SOURCES})
    mouse = generator(config.seed, "mouse", plan.mouse).normal(0, config.mouse_spread, len(SOURCES))
    session = generator(config.seed, plan.name, "gains").normal(0, config.session_spread, len(SOURCES))
    return strength * AREA_STRENGTH[plan.area] * LAYER_STRENGTH[plan.layer] * np.exp(mouse + session)


def draw_neurons(plan: SessionPlan, gains: pd.Series, config: CohortConfig) -> pd.DataFrame:
    """The neurons, in planes of equal size.

    The columns `cue` (black), `choice` (left), `position` (at the peak of the bump number `place`) and `speed` are
    the weights of the drive, `baseline` is its constant part; `amplitude` and `rest` turn calcium into dF/F.
    """
    rng, count = generator(config.seed, plan.name, "neurons"), plan.neurons
    baseline = config.baseline + LAYER_BASELINE[plan.layer]
    return pd.DataFrame(
        {
            "plane": np.sort(np.arange(count) % PLANES),
            "cue": rng.normal(0, gains["cue"], count),
            "choice": rng.normal(0, gains["choice"], count),
            "position": np.abs(rng.normal(0, gains["position"], count)),
            "place": rng.integers(len(PLACES), size=count),
            "speed": rng.normal(0, gains["speed"], count),
            "baseline": rng.normal(baseline, BASELINE_SPREAD, count),
            "amplitude": AMPLITUDE * np.exp(rng.normal(0, AMPLITUDE_SPREAD, count)),
            "rest": rng.uniform(LOWEST, HIGHEST, count),
        }
    )


def design_matrix(behaviour: Behaviour) -> Float[np.ndarray, "image feature"]:
    """What neurons can be tuned to: cue on the stem (black 1, white -1), choice (left 1, right -1), speed, bumps.

    The choice builds up along the stem, is there in the arm, and is forgotten after it.
    """
    forward, trials = behaviour.position[:, 0], behaviour.trials
    black, left = (behaviour.of_trial(2.0 * trials[name] - 1, outside=0.0) for name in ("black", "left"))
    stem = np.nan_to_num(forward, nan=np.inf) <= STEM
    since = (np.arange(behaviour.images) - behaviour.of_trial(trials["choice"], outside=np.inf)) / IMAGE_RATE
    built = np.clip(np.nan_to_num(forward, nan=STEM) / STEM, 0, 1) ** 6
    choice = left * built * np.exp(-np.maximum(since, 0) / CHOICE_MEMORY)
    speed = (behaviour.velocity[:, 0] - MEAN_SPEED) / SPEED_SD
    bumps = np.exp(-((forward[:, None] - PLACES) ** 2) / (2 * PLACE_WIDTH**2))
    return np.column_stack([black * stem, choice, speed, np.nan_to_num(bumps)])


def tuning_matrix(neurons: pd.DataFrame) -> Float[np.ndarray, "feature neuron"]:
    """The neurons' weights on the columns of the design."""
    bumps = np.zeros((len(PLACES), len(neurons)))
    bumps[neurons["place"], np.arange(len(neurons))] = neurons["position"]
    return np.concatenate([neurons[list(VARIABLES)].to_numpy().T, bumps])
