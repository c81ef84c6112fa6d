"""What a session looks like: its traces before preparation, its task, and averages over trials."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.feature_selection import f_classif

from calm.data.session import Session
from calm.metrics import pearson
from calm.paper.results import Row
from calm.recordings import Recordings

TASK = ("is_cueB", "is_choL", "is_ruleA", "is_correct", "is_switch")  # columns of trial tables of the Y-maze


def has_task(session: Session) -> bool:
    """Whether the trial table tells cue, choice, rule and where the maze is, as in the layout of DANDI:000579."""
    return {*TASK, "stem_frame", "arm_frame", "maze_frames"} <= set(session.trials)


def some_consecutive(session: Session, count: int) -> Int[np.ndarray, " trial"]:
    """A few consecutive trials, a switch of the rule among them where there is one."""
    switches = np.flatnonzero(session.trials["is_switch"]) if has_task(session) else np.array([], int)
    first = max(0, switches[0] - count // 2) if len(switches) else 0
    return np.arange(len(session.traces))[first : first + count]


def smoothed_trace(session: Session, trial: int) -> Float[np.ndarray, "neuron frame"]:
    """A trial of a prepared session in dF/F again: smoothed, before it was z-scored."""
    mean, sd = (session.neurons[column].to_numpy()[:, None] for column in ("mean", "sd"))
    return session.traces[trial] * sd + mean


def recorded_trace(session: Session, trial: int, smoothing: float) -> Float[np.ndarray, "neuron frame"]:
    """A trial of a prepared session in dF/F as it was recorded: `calm.data.session.smooth` undone, given its weight."""
    smoothed = smoothed_trace(session, trial)
    before = np.concatenate([smoothed[:, :1], smoothed[:, :-1]], axis=1)
    return before + (smoothed - before) / smoothing


def neighbour_correlation(traces: list[Float[np.ndarray, "neuron _frame"]]) -> float:
    """Correlation of a frame with the next one within a trial, mean over neurons and trials."""
    return float(np.mean([pearson(trace[:, 1:], trace[:, :-1]).mean() for trace in traces]))


def session_rows(recordings: Recordings, *, item: str, seed: int) -> list[Row]:
    """Neurons, trials and mean frames of a trial of every session."""
    rows = []
    for group, sessions in recordings.groups.items():
        for each in sessions:
            trials, shared = len(each.traces), label(recordings, each, item, group, seed)
            found = {"neurons": len(each.neurons), "trials": trials, "mean trial frames": each.frames.mean()}
            rows += [Row(metric=metric, value=float(value), n=trials, **shared) for metric, value in found.items()]
    return rows


def task_rows(recordings: Recordings, *, item: str, seed: int) -> list[Row]:
    """Share of correct trials, of black cues and of left choices of every session, and how often the rule switched."""
    rows = []
    for group, sessions in recordings.groups.items():
        for each in filter(has_task, sessions):
            trials, shared = each.trials, label(recordings, each, item, group, seed)
            shares = {"share correct": "is_correct", "share black cues": "is_cueB", "share left": "is_choL"}
            found = {metric: trials[column].astype(float).mean() for metric, column in shares.items()}
            found["switches of the rule"] = trials["is_switch"].astype(float).sum()
            rows += [Row(metric=metric, value=float(value), n=len(trials), **shared) for metric, value in found.items()]
    return rows


def label(recordings: Recordings, session: Session, item: str, variant: str, seed: int) -> dict[str, str | int]:
    """What the rows about one session's recordings have in common."""
    return {
        **{"item": item, "dataset": recordings.name, "split": "", "session": session.name},
        **{"method": "recordings", "variant": variant, "seed": seed},
    }


def selective_neurons(session: Session, count: int) -> Int[np.ndarray, " neuron"]:
    """The neurons whose mean activity in the maze tells the four kinds of trial (cue and choice) apart best.

    By the F statistic; needs trials of two kinds or more.
    """
    kinds = session.trials["is_cueB"].astype(int) * 2 + session.trials["is_choL"].astype(int)
    ends = session.trials["maze_frames"].to_numpy()
    means = np.array([trace[:, : max(1, end)].mean(axis=1) for trace, end in zip(session.traces, ends, strict=True)])
    return np.argsort(-f_classif(means, kinds)[0])[:count]


def average_rows(
    recordings: Recordings, session: Session, neurons: Int[np.ndarray, " some"], *, item: str, seed: int
) -> pd.DataFrame:
    """Mean z-score of some neurons by cue and choice from 5 s before the mouse enters the arm to 5 s behind.

    Returns:
        A results table as of `LagRow`, with the columns `neuron`, `cue`, `choice` and `sem` (over the `n` trials).
        Trials without a maze in the file, and frames that a trial does not have, take no part.
    """
    span = round(5 * session.rate)
    parts = []
    for trial, row in enumerate(session.trials.itertuples()):
        frames = np.arange(max(0, row.arm_frame - span), min(session.frames[trial], row.arm_frame + span + 1))
        part = pd.DataFrame(session.traces[trial][np.ix_(neurons, frames)].T, columns=pd.Index(neurons, name="neuron"))
        part["seconds"] = ((frames - row.arm_frame) / session.rate).round(4)
        part["cue"], part["choice"] = "black" if row.is_cueB else "white", "left" if row.is_choL else "right"
        parts += [part] * (row.maze_frames > 0)
    keys = ["neuron", "cue", "choice", "seconds"]
    found = pd.concat(parts).melt(keys[1:], var_name="neuron").groupby(keys)["value"].agg(["mean", "sem", "count"])
    found = found.reset_index().rename(columns={"mean": "value", "count": "n"})
    kinds = "neuron " + found["neuron"].astype(str) + ", " + found["cue"] + ", " + found["choice"]
    return found.assign(**{**label(recordings, session, item, "", seed), "variant": kinds, "metric": "z-score"})
