"""The synthetic mouse in its Y-maze: cues, a rule that switches, choices, and how the mouse runs.

The task is that of Tseng et al. 2022; how a mouse runs in it is invented, and so are the numbers without a source.
"""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.signal import lfilter

from calm.config.synthetic import CohortConfig

IMAGE_RATE = 30.0  # images/s of the microscope
PLANES = 4  # imaged one after the other
CYCLE = 5  # images in a volume: the planes, and the way back
SHORTEST, LONGEST = 60, 200  # volumes of a trial, as the authors' code keeps them
STEM, ARM, ARM_WIDTH = 2.0, 0.5, 0.3  # m forward, m forward, m to either side; as in the real files
DELAY, FEEDBACK = 1.0, 2.0  # s from the choice to the feedback, and of feedback; as in the real files
ITI_CORRECT, ITI_WRONG = 2.0, 4.0  # s; as in the real files
LEAD = 10.0  # s of recording before the task starts
SPREAD = 8.0  # of trial lengths, see `trial_lengths`; larger is narrower
DIP, RECOVERY = 0.6, 0.1  # by how much correct choices drop at a switch, and share of a block until 1/e of that is left
STEM_BIAS = 0.04  # m by which the mouse already leans to the side that it will choose
WANDER = 0.01  # m of weaving along the stem
STOPPING = 0.3  # s in which the ball comes to rest after the choice
NOISE = np.array([0.06, 0.04, 0.12])  # sd of the ball's noise: pitch, roll (m/s), yaw (rad)
NOISE_TIME = 0.5  # s of its correlation


@dataclasses.dataclass(frozen=True, eq=False)
class Behaviour:
    """What the mouse did, at each image of the microscope.

    Attributes:
        trials: one row a trial. `black`, `left`, `correct`, `rule_a`, `switch`; and images: the first in the stem
            `start`, in the arm `arm` and after the choice `choice`, and the one after the last, `stop`.
        trial_number: NaN outside the task.
        position: forward and lateral (to the right) in m, NaN outside the maze.
        velocity: pitch, roll and yaw of the ball, the latter two positive to the left.
        noise: the part of pitch that is chance.
    """

    trials: pd.DataFrame
    trial_number: Float[np.ndarray, " image"]
    position: Float[np.ndarray, "image 2"]
    velocity: Float[np.ndarray, "image 3"]
    noise: Float[np.ndarray, " image"]

    @property
    def images(self) -> int:
        """Number of images, in whole volumes."""
        return len(self.trial_number)

    def of_trial(self, values: pd.Series, outside: float) -> Float[np.ndarray, " image"]:
        """What holds for each trial, at each image; `outside` is its value outside the task."""
        return np.append(values.to_numpy(float), outside)[np.nan_to_num(self.trial_number, nan=-1).astype(int)]


def run_session(config: CohortConfig, mean_length: float, rng: np.random.Generator) -> Behaviour:
    """One session in the maze, whose trials have `mean_length` volumes on average."""
    trials = draw_task(config, rng)
    trials = trials.join(draw_times(trials["correct"].to_numpy(), mean_length, rng))
    paths = [run_trial(trial.choice - trial.start, trial.left, rng) for trial in trials.itertuples()]
    trials["arm"] = trials["start"] + [np.argmax(path[:, 0] > STEM) for path in paths]
    images = -(-int(trials["stop"].iloc[-1]) // CYCLE) * CYCLE
    number, position, velocity = np.full(images, np.nan), np.full((images, 2), np.nan), np.zeros((images, 3))
    for trial, path in zip(trials.itertuples(), paths, strict=True):
        number[trial.start : trial.stop] = trial.Index
        position[trial.start : trial.choice] = path
        velocity[trial.start : trial.stop] = ball_velocity(path, trial.stop - trial.choice)
    noise = ball_noise(images, rng)
    return Behaviour(trials, number, position, velocity + noise, noise[:, 0])


def draw_task(config: CohortConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Cue, rule and choice of each trial. Rule A: black means left, white means right; rule B: the other way round."""
    rule_a, since = rule_blocks(config, rng)
    black = rng.random(config.trials) < 0.5
    correct = rng.random(config.trials) < correct_probability(since, config)
    return pd.DataFrame(
        {
            "black": black,
            "left": (black == rule_a) == correct,
            "correct": correct,
            "rule_a": rule_a,
            "switch": (since == 0) & (np.arange(config.trials) > 0),
        }
    )


def rule_blocks(
    config: CohortConfig, rng: np.random.Generator
) -> tuple[Bool[np.ndarray, " trial"], Int[np.ndarray, " trial"]]:
    """Whether rule A holds in each trial, and how many trials ago the rule switched (or the session began)."""
    shortest, longest = config.block
    lengths = rng.integers(shortest, longest + 1, config.trials // shortest + 1)
    block = np.repeat(np.arange(len(lengths)), lengths)[: config.trials]
    since = np.arange(config.trials) - (np.cumsum(lengths) - lengths)[block]
    return (block + rng.integers(2)) % 2 == 0, since


def correct_probability(since: Int[np.ndarray, " trial"], config: CohortConfig) -> Float[np.ndarray, " trial"]:
    """Probability of a correct choice; it dips after a switch, and is `config.accuracy` on average over a block."""
    block = np.mean(config.block)
    dip = np.exp(-since / (RECOVERY * block))
    average = np.exp(-np.arange(round(block)) / (RECOVERY * block)).mean()
    return np.clip(config.accuracy + DIP * (average - dip), 0, 1)


def trial_lengths(trials: int, mean: float, rng: np.random.Generator) -> Int[np.ndarray, " trial"]:
    """Images of each trial, with a mean in volumes; every plane has SHORTEST to LONGEST of them in a trial.

    The beta distribution between the two, as the authors' code drops what lies outside.
    """
    share = (mean - SHORTEST) / (LONGEST - SHORTEST)
    volumes = SHORTEST + (LONGEST - SHORTEST) * rng.beta(SPREAD * share, SPREAD * (1 - share), trials)
    return np.round(volumes * CYCLE).astype(int)


def draw_times(correct: Bool[np.ndarray, " trial"], mean: float, rng: np.random.Generator) -> pd.DataFrame:
    """Images at which the mouse enters the maze, chooses, and has finished; trials follow each other without a gap."""
    lengths = trial_lengths(len(correct), mean, rng)
    stop = round(LEAD * IMAGE_RATE) + np.cumsum(lengths)
    pause = np.round(IMAGE_RATE * np.where(correct, ITI_CORRECT, ITI_WRONG)).astype(int)
    choice = stop - pause - round(FEEDBACK * IMAGE_RATE) - round(DELAY * IMAGE_RATE)
    return pd.DataFrame({"start": stop - lengths, "choice": choice, "stop": stop})


def run_trial(images: int, left: bool, rng: np.random.Generator) -> Float[np.ndarray, "run 2"]:
    """A way through the maze, forward and to the right in m: faster or slower at first, weaving, then into the arm."""
    done = (np.arange(images) + 0.5) / images
    forward = (STEM + ARM) * done ** rng.uniform(1.0, 1.4)
    stem, arm = np.minimum(forward / STEM, 1), np.maximum(forward - STEM, 0) / ARM
    weaving = WANDER * np.sin(2 * np.pi * (rng.uniform(1, 2) * stem + rng.random())) * (1 - arm)
    leaning = STEM_BIAS * stem**4 + ARM_WIDTH * arm**1.3
    return np.stack([forward, weaving + (-leaning if left else leaning)], axis=1)


def ball_velocity(path: Float[np.ndarray, "run 2"], after: int) -> Float[np.ndarray, "trial_image 3"]:
    """Pitch, roll and yaw that a way through the maze takes, and how they die away in the images after it.

    Yaw is taken to follow the direction in which the mouse runs.
    """
    forward, right = IMAGE_RATE * np.gradient(path, axis=0).T
    running = np.stack([forward, -right, np.arctan2(-right, forward)], axis=1)
    stopping = np.exp(-np.arange(1, after + 1) / (STOPPING * IMAGE_RATE))
    return np.concatenate([running, stopping[:, None] * running[-1]])


def ball_noise(images: int, rng: np.random.Generator) -> Float[np.ndarray, "image 3"]:
    """First-order autoregressive noise on pitch, roll and yaw."""
    return colour_noise(rng.normal(size=(images, 3)).T, np.zeros(3)).T * NOISE


def colour_noise(
    white: Float[np.ndarray, "*row image"], before: Float[np.ndarray, "*row"]
) -> Float[np.ndarray, "*row image"]:
    """Noise of unit variance and correlation time NOISE_TIME that goes on from the value `before`."""
    keep = np.exp(-1 / (NOISE_TIME * IMAGE_RATE))
    start = keep * np.asarray(before)[..., None]
    return lfilter([np.sqrt(1 - keep**2)], [1, -keep], white, zi=start)[0]
