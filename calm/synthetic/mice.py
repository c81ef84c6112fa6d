"""Who is in the synthetic cohort: mice, sessions, areas, layers and numbers of neurons (Tables 1 and 2)."""

import dataclasses
import zlib
from importlib import resources

import numpy as np
import pandas as pd

from calm.config.synthetic import CohortConfig

# The 286 sessions of the paper: the multi-plane ones of DANDI:000579 but 2017-06-09, since the files have one more of
# mouse 4, and of RSC, than Tables 1 and 2, which do not say which. No table gives the neurons of single sessions:
# `neurons` shares out the sums over mice and over areas of Tables 1 and 2 in proportion to the sizes of the files.
# `rank` counts the sessions of a mouse such that the first few of all mice have areas and layers in the proportions
# of all sessions.
SESSIONS = resources.files("calm.synthetic") / "mice.csv"
TRIAL_FRAMES = {3: 87, 4: 105, 5: 90, 6: 83, 7: 90, 8: 95, 9: 77, 10: 104}  # by mouse: mean at 6 Hz (Table 1)
HELD_OUT = ("6", "10")  # mice that pretraining does not see, as in the paper


@dataclasses.dataclass(frozen=True)
class SessionPlan:
    """One session to be made.

    Attributes:
        mouse: 3 to 10.
        date: YYYY-MM-DD.
        area: imaged area, `visA` for A.
        layer: `L23` or `L5`.
        neurons: how many.
    """

    mouse: int
    date: str
    area: str
    layer: str
    neurons: int

    @property
    def name(self) -> str:
        """Its `session_id`."""
        return f"mouse_{self.mouse}_session_date_{self.date}_area_{self.area}_{self.layer}_multi_plane_imaging"

    @property
    def path(self) -> str:
        """Its file, relative to the folder of the cohort, called like the real one, in a folder of its own."""
        session = f"ses-{self.name.replace('_', '-')}"
        return f"sub-{self.mouse}/{session}/sub-{self.mouse}_{session}_behavior+ophys.nwb"

    @property
    def trial_frames(self) -> float:
        """Mean length of a trial, frames at 6 Hz."""
        return float(TRIAL_FRAMES[self.mouse])


def generator(seed: int, *words: object) -> np.random.Generator:
    """Random numbers for one purpose, whatever else is drawn from the same seed."""
    return np.random.default_rng([seed, *(zlib.crc32(str(word).encode()) for word in words)])


def plan_cohort(config: CohortConfig) -> list[SessionPlan]:
    """The sessions to make, by mouse and date; a larger share adds sessions and leaves the others as they are."""
    table = pd.read_csv(str(SESSIONS))
    wanted = np.maximum((table.groupby("mouse").size() * config.session_share).round(), config.min_sessions)
    chosen = table[table["rank"] < table["mouse"].map(wanted)].drop(columns="rank")
    neurons = np.maximum((chosen["neurons"] * config.neuron_share).round(), config.min_neurons).astype(int)
    return [SessionPlan(**session) for session in chosen.assign(neurons=neurons).to_dict("records")]
