"""The data in numbers: sessions, neurons and lengths of trials by mouse and by area (Tables 1 and 2)."""

import pandas as pd

from calm.paper.report import read_published
from calm.paper.results import Row
from calm.recordings import Recordings

COUNTS = ("sessions", "neurons", "mean trial frames")  # metrics of both tables


def describe_sessions(recordings: Recordings) -> pd.DataFrame:
    """One row a session: name, `subject` and `group` (held-in or held-out), `neurons`, `trials`, and their `frames`.

    Where the file tells the area that was recorded, `area`, too.
    """
    rows = []
    for group, sessions in recordings.groups.items():
        for each in sessions:
            row = {"session": each.name, "subject": each.subject, "group": group, "neurons": len(each.neurons)}
            row |= {"trials": len(each.traces), "frames": int(each.frames.sum())}
            if "session_area" in each.neurons:
                row["area"] = each.neurons["session_area"].iloc[0]
            rows.append(row)
    return pd.DataFrame(rows)


def count_rows(recordings: Recordings, *, item: str, by: str, seed: int) -> list[Row]:
    """Sessions, neurons and mean frames of a trial for each `subject` (Table 1) or `area` (Table 2).

    Rows are sums and means over all sessions of a kind, held-in and held-out ones, and over all their trials; `n` is
    how many sessions, for the frames how many trials.
    """
    shared = {
        "item": item,
        "dataset": recordings.name,
        "split": "",
        "session": "",
        "method": "recordings",
        "seed": seed,
    }
    rows, groups = [], dict(list(describe_sessions(recordings).groupby(by)))
    for kind in sorted(groups, key=lambda name: (int(name) if name.isdigit() else 0, name)):
        own = groups[kind]
        trials, sessions = int(own["trials"].sum()), len(own)
        values = (float(sessions), float(own["neurons"].sum()), float(own["frames"].sum() / trials))
        for metric, value, n in zip(COUNTS, values, (sessions, sessions, trials), strict=True):
            rows.append(Row(variant=f"{by} {kind}", metric=metric, value=value, n=n, **shared))
    return rows


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts with a row for each subject or area, rounded to whole numbers."""
    found = rows.pivot_table(index="variant", columns="metric", values="value", sort=False)
    return found[list(COUNTS)].round().astype("Int64")


def beside_paper(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts of an item as `wide`, each beside the paper's.

    Only recordings in the layout of DANDI:000579 have the paper's subjects and areas.
    """
    both = {"ours": wide(rows), "paper": wide(read_published().query("item in @rows['item'].unique()"))}
    joined = pd.concat(both, axis=1).swaplevel(axis=1)
    return joined[[(metric, name) for metric in COUNTS for name in both]]
