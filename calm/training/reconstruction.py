"""How well tokens keep the traces: the quantizer's scores (Sec. 6.1, Fig. 1B, 1C)."""

import numpy as np
import torch
from jaxtyping import Float, Int

from calm.data.session import Session
from calm.metrics import trial_correlation
from calm.models.quantizer import NeuralQuantizer


@torch.no_grad()
def reconstruct(
    quantizer: NeuralQuantizer, session: Session, trials: Int[np.ndarray, " part"]
) -> tuple[list[Float[np.ndarray, "neuron _frame"]], list[Int[np.ndarray, "neuron _token"]]]:
    """Trials through tokens and back; frames after the last whole window are left out.

    Returns:
        Reconstructed z-scores and the codes, an array for each trial.
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
