"""Who is in the synthetic cohort: mice, sessions, areas, layers and numbers of neurons (Tables 1 and 2, spec 1.2)."""

import dataclasses
import zlib
from collections import Counter
from importlib import resources

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.config import CohortConfig

SESSIONS = resources.files("calm.data") / "dandi_000579_sessions.csv"  # the files of the real data set
MICE = pd.DataFrame(  # Table 1; frames is the mean length of a trial at 6 Hz
    {
        "sessions": [17, 23, 31, 46, 35, 42, 41, 51],
        "neurons": [17861, 20592, 34293, 40262, 36621, 42550, 45787, 35804],
        "frames": [87, 105, 90, 83, 90, 95, 77, 104],
    },
    index=pd.RangeIndex(3, 11, name="mouse"),
)
AREA_NEURONS = pd.Series({"AM": 42088, "MM": 44520, "PM": 32291, "RSC": 51262, "V1": 39619, "visA": 63990})  # Table 2
# The files have 24 sessions of mouse 4 and 56 of RSC, Table 1 has 23 and Table 2 55: the one that the paper leaves out
# is one of these four. Which one is unknown; the last is taken for it.
LEFT_OUT = {"mouse": 4, "area": "RSC"}


@dataclasses.dataclass(frozen=True)
class SessionPlan:
    """One session to be made.

    Attributes:
        name: its `session_id`.
        path: its file, relative to the folder of the cohort, named like the real one.
        mouse: 3 to 10.
        date: YYYY-MM-DD.
        area: imaged area, `visA` for A.
        layer: `L23` or `L5`.
        neurons: how many.
        frames: mean length of a trial, frames at 6 Hz.
    """

    name: str
    path: str
    mouse: int
    date: str
    area: str
    layer: str
    neurons: int
    frames: float


def generator(seed: int, *words: object) -> np.random.Generator:
    """Random numbers for one purpose, whatever else is drawn from the same seed."""
    return np.random.default_rng([seed, *(zlib.crc32(str(word).encode()) for word in words)])


def plan_cohort(config: CohortConfig) -> list[SessionPlan]:
    """The sessions to make, by mouse and date; a larger share adds sessions and leaves the others as they are.

    Raises:
        CalmError: the table of the real files is missing.
    """
    table = session_table()
    shares = np.maximum((MICE["sessions"] * config.session_share).round(), config.min_sessions)
    chosen = table[table["rank"] < table["mouse"].map(shares)]
    neurons = np.maximum((chosen["neurons"] * config.neuron_share).round(), config.min_neurons).astype(int)
    return [
        SessionPlan(
            name=f"mouse_{row.mouse}_session_date_{row.date}_area_{row.area}_{row.layer}_multi_plane_imaging",
            path=row.path,
            mouse=row.mouse,
            date=row.date,
            area=row.area,
            layer=row.layer,
            neurons=count,
            frames=float(MICE.loc[row.mouse, "frames"]),
        )
        for row, count in zip(chosen.itertuples(), neurons, strict=True)
    ]


def session_table() -> pd.DataFrame:
    """The 286 sessions of the paper by mouse and date, each with its neurons and its rank within the mouse.

    Raises:
        CalmError: the table of the real files is missing.
    """
    table = pd.read_csv(str(SESSIONS), dtype={"mouse": int}).sort_values(["mouse", "date"])
    table = table[table["imaging"] == "multi-plane-imaging"]
    spare = table.index[np.logical_and.reduce([table[key] == value for key, value in LEFT_OUT.items()])]
    table = table.drop(spare[-1]).reset_index(drop=True)
    return table.assign(neurons=share_neurons(table), rank=balanced_ranks(table))


def balanced_ranks(table: pd.DataFrame) -> Int[np.ndarray, " session"]:
    """Rank of each session within its mouse, such that the first few of every mouse have areas and layers like all.

    The mice take turns; each takes the area and layer that those taken so far have too little of.
    """
    kinds = list(zip(table["area"], table["layer"], strict=True))
    wanted, taken = Counter(kinds), Counter()
    left = {mouse: list(own.index) for mouse, own in table.groupby("mouse")}
    ranks, chosen = np.zeros(len(kinds), int), 0
    for turn in range(max(map(len, left.values()))):
        for own in filter(None, left.values()):
            lack = [wanted[kinds[session]] * (chosen + 1) / len(kinds) - taken[kinds[session]] for session in own]
            session = own.pop(int(np.argmax(lack)))
            taken[kinds[session]] += 1
            ranks[session], chosen = turn, chosen + 1
    return ranks


def share_neurons(table: pd.DataFrame) -> Int[np.ndarray, " session"]:
    """Neurons of each session: the sums over mice and over areas are those of Tables 1 and 2.

    No table gives single sessions; they are taken to be proportional to the sizes of the files, as far as the sums
    allow.
    """
    mice, areas = table["mouse"].to_numpy(), table["area"].to_numpy()
    groups = [
        (mice[:, None] == MICE.index.to_numpy(), MICE["neurons"].to_numpy()),
        (areas[:, None] == AREA_NEURONS.index.to_numpy(), AREA_NEURONS.to_numpy()),
    ]
    share = table["size_bytes"].to_numpy(float)
    for _ in range(50):  # proportional fitting; it converges in far fewer rounds
        for members, total in groups:
            share = share * (members @ (total / (share @ members)))
    return round_to_sums(share, mice, areas)


def round_to_sums(
    share: Float[np.ndarray, " session"], mice: Int[np.ndarray, " session"], areas: np.ndarray
) -> Int[np.ndarray, " session"]:
    """Whole numbers near the given ones, with the sums of Tables 1 and 2."""
    whole = np.floor(share).astype(int)
    by_mouse = {mouse: total - whole[mice == mouse].sum() for mouse, total in MICE["neurons"].items()}
    by_area = {area: total - whole[areas == area].sum() for area, total in AREA_NEURONS.items()}
    order = np.argsort(whole - share, kind="stable")  # the largest fractions first
    while any(by_mouse.values()):
        for session in order:
            mouse, area = mice[session], areas[session]
            if by_mouse[mouse] > 0 and by_area[area] > 0:
                whole[session] += 1
                by_mouse[mouse] -= 1
                by_area[area] -= 1
    return whole
