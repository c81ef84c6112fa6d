"""Figure 1B: how well tokens keep the traces, on each split, held-in and held-out."""

from calm.data.session import SPLITS
from calm.models.quantizer import NeuralQuantizer
from calm.paper.results import Results
from calm.recordings import Recordings
from calm.training.reconstruction import reconstruction_correlations


def score_reconstruction(results: Results, quantizer: NeuralQuantizer, recordings: Recordings, *, item: str) -> None:
    """Add the mean correlation over trials on each split of each session, held-in and held-out ones."""
    for group, sessions in recordings.groups.items():
        for session in sessions:
            for split in SPLITS:
                values = reconstruction_correlations(quantizer, session, session.trials_of(split))
                where = {"split": split, "group": group, "session": session.name, "method": "CalM"}
                results.add("corr", values.mean(), item=item, n=len(values), **where)
