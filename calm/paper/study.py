"""What a notebook begins with, and how it shows and saves: its recordings, settings and results in one place."""

import inspect
import textwrap
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Code
from matplotlib.figure import Figure

from calm.models.quantizer import NeuralQuantizer
from calm.paper.claims.table import verdicts
from calm.paper.plots import use_style
from calm.paper.provenance import provenance
from calm.paper.results import Results, figures_folder
from calm.paths import RUNS
from calm.profile import load_profile
from calm.recordings import load_recordings
from calm.training.stages import Trained
from calm.training.tasks import train_quantizer


class Study:
    """The recordings of a dataset at the scale of a profile, and what was found about them.

    Args:
        profile: its name, and what to change; see `calm.profile.load_profile`.
        dataset: simulation, cohort, or the path of a dataset description.
        seed: of the split into trials, and of whatever is trained.
    """

    def __init__(self, profile: str, dataset: str, *, seed: int):
        use_style()
        self.recordings = load_recordings(dataset, load_profile(profile), seed=seed)
        self.settings, self.groups = self.recordings.profile, self.recordings.groups
        self.seed, self.results = seed, Results(self.recordings.name, seed)
        self.figures = figures_folder(profile, self.recordings.name)

    def save(self, item: str, figure: Figure | None = None) -> None:
        """Write the numbers of an item, with its figure, which is shown as well; see `Results.save`."""
        self.results.save(self.figures, item, figure, provenance(self.recordings, self.results))
        plt.show()

    def add_history(self, history: pd.DataFrame, *, item: str, **where: str) -> None:
        """Add loss terms and validation score of a training at each of its validations."""
        for metric in history.columns.intersection(["loss", "cross_entropy", "val"]):
            self.results.add_each(metric, history[metric], item=item, step=history["step"], **where)

    def verdicts(self, claims: Sequence[int]) -> pd.DataFrame:
        """Tests of some of the paper's claims, from what was saved here and by the other notebooks."""
        return verdicts(self.figures, claims=claims)

    def train_quantizer(self) -> Trained[NeuralQuantizer]:
        """One quantizer for all held-in sessions; found again if it was trained before."""
        return train_quantizer(self.recordings.held_in, self.settings, seed=self.seed, runs=RUNS)


def show_code(*functions: Callable) -> Code:
    """The source of functions, to stand beside the equations that they are."""
    return Code("\n".join(textwrap.dedent(inspect.getsource(each)) for each in functions), language="python")
