"""Rows of Figure 1B: how well tokens keep the traces, on each split, held-in and held-out."""

from calm.data.session import SPLITS
from calm.models.quantizer import NeuralQuantizer
from calm.paper.results import Row
from calm.recordings import Recordings
from calm.training.reconstruction import reconstruction_correlations


def reconstruction_rows(quantizer: NeuralQuantizer, recordings: Recordings, *, item: str, seed: int) -> list[Row]:
    """Correlation on each split of each session; held-in or held-out is the variant (the six bars of Fig. 1B)."""
    rows = []
    for group, sessions in recordings.groups.items():
        for session in sessions:
            for split in SPLITS:
                values = reconstruction_correlations(quantizer, session, session.trials_of(split))
                label = {"item": item, "dataset": recordings.name, "method": "CalM", "variant": group, "metric": "corr"}
                label |= {"split": split, "session": session.name, "n": len(values), "seed": seed}
                rows.append(Row(value=float(values.mean()), **label))
    return rows
