"""The synthetic mouse in its Y-maze: cues, a rule that switches, choices, and how the mouse runs.

The task is that of Tseng et al. 2022; how a mouse runs in it is invented, and so are the numbers without a source.
"""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.signal import lfilter

from calm.config import CohortConfig

RATE = 30.0  # frames/s of the microscope
PLANES = 4  # imaged
CYCLE = 5  # frames in a volume: the planes, and the way back
SHORTEST, LONGEST = 60, 200  # volumes of a trial that the paper's authors keep (spec 1.3)
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
    """What the mouse did, on the frames of the microscope.

    Attributes:
        trials: one row a trial. `black`, `left`, `correct`, `rule_a`, `switch`, `probability` (of a correct choice);
            and frames: of the first in the stem `start`, in the arm `arm`, after the choice `choice`, of the feedback
            `feedback`, of the inter-trial interval `iti`, and the one behind its last `stop`.
        number: of the trial, NaN outside the task.
        position: forward and lateral (to the right) in m, NaN outside the maze.
        velocity: pitch, roll and yaw of the ball, the latter two positive to the left.
        noise: the part of pitch that is chance.
    """

    trials: pd.DataFrame
    number: Float[np.ndarray, " frame"]
    position: Float[np.ndarray, "frame 2"]
    velocity: Float[np.ndarray, "frame 3"]
    noise: Float[np.ndarray, " frame"]

    @property
    def frames(self) -> int:
        """Frames of the microscope, whole volumes."""
        return len(self.number)

    @property
    def time_from_choice(self) -> Float[np.ndarray, " frame"]:
        """Seconds from the end of the maze: negative in it, positive behind it, NaN outside the task."""
        choice = np.append(self.trials["choice"].to_numpy(float), np.nan)
        return (np.arange(self.frames) - choice[self.trial_or_none]) / RATE

    @property
    def trial_or_none(self) -> Int[np.ndarray, " frame"]:
        """Trial of each frame, -1 outside the task."""
        return np.nan_to_num(self.number, nan=-1).astype(int)


def run_session(config: CohortConfig, mean_length: float, rng: np.random.Generator) -> Behaviour:
    """One session in the maze.

    Args:
        config: number of trials, blocks, accuracy.
        mean_length: of a trial, frames at 6 Hz.
        rng: of this session.
    """
    trials = draw_task(config, rng)
    trials = trials.join(draw_times(trials["correct"].to_numpy(), mean_length, rng))
    paths = [run_trial(trial.choice - trial.start, trial.left, rng) for trial in trials.itertuples()]
    trials["arm"] = trials["start"] + [np.argmax(path[:, 0] > STEM) for path in paths]
    frames = -(-int(trials["stop"].iloc[-1]) // CYCLE) * CYCLE
    number, position, velocity = np.full(frames, np.nan), np.full((frames, 2), np.nan), np.zeros((frames, 3))
    for trial, path in zip(trials.itertuples(), paths, strict=True):
        number[trial.start : trial.stop] = trial.Index
        position[trial.start : trial.choice] = path
        velocity[trial.start : trial.stop] = ball_velocity(path, trial.stop - trial.choice)
    noise = ball_noise(frames, rng)
    return Behaviour(trials, number, position, velocity + noise, noise[:, 0])


def draw_task(config: CohortConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Cue, rule and choice of each trial. Rule A: black means left, white means right; rule B: the other way round."""
    rule_a, since = rule_blocks(config, rng)
    black = rng.random(config.trials) < 0.5
    probability = correct_probability(since, config)
    correct = rng.random(config.trials) < probability
    return pd.DataFrame(
        {
            "black": black,
            "left": (black == rule_a) == correct,
            "correct": correct,
            "rule_a": rule_a,
            "switch": (since == 0) & (np.arange(config.trials) > 0),
            "probability": probability,
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
    """Frames of each trial, with the given mean in volumes; every plane has SHORTEST to LONGEST of them in a trial.

    The beta distribution between the two, as the authors drop what lies outside.
    """
    share = (mean - SHORTEST) / (LONGEST - SHORTEST)
    volumes = SHORTEST + (LONGEST - SHORTEST) * rng.beta(SPREAD * share, SPREAD * (1 - share), trials)
    return np.round(volumes * CYCLE).astype(int)


def draw_times(correct: Bool[np.ndarray, " trial"], mean: float, rng: np.random.Generator) -> pd.DataFrame:
    """First frames of the parts of each trial; trials follow each other without a gap."""
    lengths = trial_lengths(len(correct), mean, rng)
    stop = round(LEAD * RATE) + np.cumsum(lengths)
    iti = stop - np.round(RATE * np.where(correct, ITI_CORRECT, ITI_WRONG)).astype(int)
    feedback = iti - round(FEEDBACK * RATE)
    choice = feedback - round(DELAY * RATE)
    columns = {"start": stop - lengths, "choice": choice, "feedback": feedback, "iti": iti, "stop": stop}
    return pd.DataFrame(columns)


def run_trial(frames: int, left: bool, rng: np.random.Generator) -> Float[np.ndarray, "run 2"]:
    """A way through the maze, forward and to the right in m: faster or slower at first, weaving, then into the arm."""
    done = (np.arange(frames) + 0.5) / frames
    forward = (STEM + ARM) * done ** rng.uniform(1.0, 1.4)
    stem, arm = np.minimum(forward / STEM, 1), np.maximum(forward - STEM, 0) / ARM
    weaving = WANDER * np.sin(2 * np.pi * (rng.uniform(1, 2) * stem + rng.random())) * (1 - arm)
    leaning = STEM_BIAS * stem**4 + ARM_WIDTH * arm**1.3
    return np.stack([forward, weaving + (-leaning if left else leaning)], axis=1)


def ball_velocity(path: Float[np.ndarray, "run 2"], after: int) -> Float[np.ndarray, "trial_frame 3"]:
    """Pitch, roll and yaw that a way through the maze takes, and how they die away in the frames after it.

    Yaw is taken to follow the direction in which the mouse runs.
    """
    forward, right = RATE * np.gradient(path, axis=0).T
    running = np.stack([forward, -right, np.arctan2(-right, forward)], axis=1)
    stopping = np.exp(-np.arange(1, after + 1) / (STOPPING * RATE))
    return np.concatenate([running, stopping[:, None] * running[-1]])


def ball_noise(frames: int, rng: np.random.Generator) -> Float[np.ndarray, "frame 3"]:
    """First-order autoregressive noise on pitch, roll and yaw."""
    return colour_noise(rng.normal(size=(frames, 3)).T, np.zeros(3)).T * NOISE


def colour_noise(
    white: Float[np.ndarray, "*row frame"], before: Float[np.ndarray, "*row"]
) -> Float[np.ndarray, "*row frame"]:
    """Noise of unit variance and correlation time NOISE_TIME that goes on from the value `before`."""
    keep = np.exp(-1 / (NOISE_TIME * RATE))
    start = keep * np.asarray(before)[..., None]
    return lfilter([np.sqrt(1 - keep**2)], [1, -keep], white, zi=start)[0]
