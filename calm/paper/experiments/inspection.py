"""What the recordings are (Tables 1, 2), and what a session looks like: traces, task, averages over trials."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.feature_selection import f_classif

from calm.data.session import Session
from calm.metrics import pearson
from calm.paper.results import Results, read_published
from calm.recordings import Recordings

COUNTS = ("sessions", "neurons", "mean trial frames")  # metrics of Tables 1 and 2
TASK = ("is_cueB", "is_choL", "is_ruleA", "is_correct", "is_switch")  # columns of trial tables of the Y-maze
SPAN = 5.0  # s before and after the entry into the arm


def describe_sessions(recordings: Recordings) -> pd.DataFrame:
    """One row a session: name, `subject` and `group` (held-in or held-out), `neurons`, `trials`, and their `frames`.

    Where the file tells the area that was recorded, `area`, too.
    """
    rows = []
    for group, sessions in recordings.groups.items():
        for each in sessions:
            row = {"session": each.name, "subject": each.subject, "group": group, "neurons": len(each.neurons)}
            row |= {"trials": len(each.traces), "frames": int(each.frames.sum())}
            rows.append(row | {"area": each.neurons.get("session_area", pd.Series([None])).iloc[0]})
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def add_counts(results: Results, recordings: Recordings, *, item: str, by: str) -> None:
    """Add sessions, neurons and mean frames of a trial for each `subject` (Table 1) or `area` (Table 2).

    They are sums and means over all sessions of a kind, held-in and held-out ones, and over all their trials; `n` is
    how many sessions, for the frames how many trials.
    """
    kinds = describe_sessions(recordings).groupby(by)[["neurons", "trials", "frames"]]
    table = kinds.sum().assign(sessions=kinds.size()).reset_index()
    table = table.sort_values(by, key=lambda names: names.str.zfill(9))  # numbers by size
    where = {"item": item, "method": "recordings", "variant": f"{by} " + table[by]}
    results.add_each("sessions", table["sessions"], n=table["sessions"], **where)
    results.add_each("neurons", table["neurons"], n=table["sessions"], **where)
    results.add_each("mean trial frames", table["frames"] / table["trials"], n=table["trials"], **where)


def count_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts with a row for each subject or area, rounded to whole numbers."""
    table = rows.pivot_table(index="variant", columns="metric", values="value", sort=False)
    return table[list(COUNTS)].round().astype("Int64")


def beside_paper(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts of an item as `count_table`, each beside the paper's.

    Only recordings in the layout of DANDI:000579 have the paper's subjects and areas.
    """
    both = {"ours": count_table(rows), "paper": count_table(read_published().query("item in @rows['item'].unique()"))}
    joined = pd.concat(both, axis=1).swaplevel(axis=1)
    return joined[[(metric, name) for metric in COUNTS for name in both]]


def add_sessions(results: Results, recordings: Recordings, *, item: str) -> None:
    """Add neurons, trials and mean frames of a trial of every session; and, as `<item>_subjects`, whose it is."""
    table = describe_sessions(recordings)
    table["mean trial frames"] = table["frames"] / table["trials"]
    where = {"n": table["trials"], "group": table["group"], "session": table["session"], "method": "recordings"}
    results.add_each("trials", table["trials"], item=f"{item}_subjects", subject=table["subject"], **where)
    for metric in ("neurons", "trials", "mean trial frames"):
        results.add_each(metric, table[metric], item=item, variant="subject " + table["subject"], **where)


def has_task(session: Session) -> bool:
    """Whether the trial table tells cue, choice, rule and where the maze is, as in the layout of DANDI:000579."""
    return {*TASK, "stem_frame", "arm_frame", "maze_frames"} <= set(session.trials)


def add_task(results: Results, recordings: Recordings, *, item: str) -> None:
    """Add the share of correct trials, of black cues and of left choices of every session, and switches of the rule."""
    for group, sessions in recordings.groups.items():
        for each in filter(has_task, sessions):
            task = each.trials[list(TASK)].astype(float)
            where = {"item": item, "n": len(task), "group": group, "session": each.name, "method": "recordings"}
            results.add("share correct", task["is_correct"].mean(), **where)
            results.add("share black cues", task["is_cueB"].mean(), **where)
            results.add("share left", task["is_choL"].mean(), **where)
            results.add("switches of the rule", task["is_switch"].sum(), **where)


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
    """A trial of a prepared session in dF/F as it was recorded: `calm.data.preparation.smooth` undone, of a weight."""
    smoothed = smoothed_trace(session, trial)
    before = np.concatenate([smoothed[:, :1], smoothed[:, :-1]], axis=1)
    return before + (smoothed - before) / smoothing


def neighbour_correlation(traces: list[Float[np.ndarray, "neuron _frame"]]) -> float:
    """Correlation of a frame with the next one within a trial, mean over neurons and trials."""
    return float(np.mean([pearson(trace[:, 1:], trace[:, :-1]).mean() for trace in traces]))


def selective_neurons(session: Session, count: int) -> Int[np.ndarray, " neuron"]:
    """The neurons whose mean activity in the maze tells the four kinds of trial (cue and choice) apart best.

    By the F statistic; needs trials of two kinds or more.
    """
    kinds = session.trials["is_cueB"].astype(int) * 2 + session.trials["is_choL"].astype(int)
    ends = session.trials["maze_frames"].to_numpy()
    means = np.array([trace[:, : max(1, end)].mean(axis=1) for trace, end in zip(session.traces, ends, strict=True)])
    return np.argsort(-f_classif(means, kinds)[0])[:count]


def around_entry(session: Session, neurons: Int[np.ndarray, " neuron"]) -> pd.DataFrame:
    """Traces of some neurons around the moment the mouse enters the arm: `neuron`, `cue`, `choice`, `seconds`, `value`.

    Trials without a maze in the file, and frames that a trial does not have, take no part.
    """
    span, pieces = round(SPAN * session.rate), []
    for trial, row in enumerate(session.trials.itertuples()):
        frames = np.arange(max(0, row.arm_frame - span), min(session.frames[trial], row.arm_frame + span + 1))
        if row.maze_frames > 0:
            piece = pd.DataFrame(session.traces[trial][np.ix_(neurons, frames)].T, columns=neurons)
            piece["seconds"] = ((frames - row.arm_frame) / session.rate).round(4)
            piece["cue"], piece["choice"] = "black" if row.is_cueB else "white", "left" if row.is_choL else "right"
            pieces.append(piece)
    return pd.concat(pieces).melt(["cue", "choice", "seconds"], var_name="neuron")


def add_averages(results: Results, session: Session, neurons: Int[np.ndarray, " neuron"], *, item: str) -> None:
    """Add the mean z-score of some neurons by cue and choice from 5 s before the mouse enters the arm to 5 s after.

    With the columns `neuron`, `cue`, `choice`, `seconds` and `sem` (over the `n` trials).
    """
    kinds = ["neuron", "cue", "choice", "seconds"]
    averages = around_entry(session, neurons).groupby(kinds)["value"].agg(["mean", "sem", "count"]).reset_index()
    where = {name: averages[name] for name in (*kinds, "sem")} | {"session": session.name, "method": "recordings"}
    variant = "neuron " + averages["neuron"].astype(str) + ", " + averages["cue"] + ", " + averages["choice"]
    results.add_each("z-score", averages["mean"], item=item, n=averages["count"], variant=variant, **where)
