"""How well tokens keep the traces: the quantizer's scores (Sec. 6.1, Fig. 1B, 1C)."""

import numpy as np
import torch
from jaxtyping import Float, Int

from calm.metrics import trial_correlation
from calm.quantizer import NeuralQuantizer
from calm.recordings import Recordings
from calm.results import Row
from calm.session import SPLITS, Session


@torch.no_grad()
def reconstruct(
    quantizer: NeuralQuantizer, session: Session, trials: Int[np.ndarray, " part"]
) -> tuple[list[Float[np.ndarray, "neuron _frame"]], list[Int[np.ndarray, "neuron _token"]]]:
    """Trials through tokens and back; frames after the last whole window are left out.

    Returns:
        Reconstructed z-scores and the codes, one array a trial each.
    """
    device, traces, tokens = quantizer.codebook.vectors.device, [], []
    for trial in trials:
        codes = quantizer.encode_codes(torch.from_numpy(session.traces[trial]).to(device))
        traces.append(quantizer.decode_codes(codes).cpu().numpy())
        tokens.append(codes.cpu().numpy())
    return traces, tokens


def reconstruction_correlations(
    quantizer: NeuralQuantizer, session: Session, trials: Int[np.ndarray, " part"]
) -> Float[np.ndarray, " part"]:
    """Pearson correlation of trace and reconstruction, mean over neurons, for each trial."""
    reconstructed, _ = reconstruct(quantizer, session, trials)
    pairs = zip(trials, reconstructed, strict=True)
    return np.array([trial_correlation(session.traces[trial][:, : trace.shape[1]], trace) for trial, trace in pairs])


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
