"""What a tokenizer keeps of recordings that it never saw, as they are and lightly smoothed; not in the paper."""

from collections.abc import Sequence

import numpy as np

from calm.data.preparation import prepare
from calm.data.session import Session
from calm.metrics import trial_correlation
from calm.paper.experiments.reconstruction import window_means
from calm.paper.results import Results
from calm.training.features import whole_frames
from calm.weights.tokenizer import Tokenizer

SMOOTHINGS = {"raw": 1.0, "lightly smoothed": 0.5}  # weight of the newest frame


def score_zero_shot(
    results: Results, tokenizer: Tokenizer, sessions: Sequence[Session], *, item: str, group: str = ""
) -> None:
    """Add the mean correlation over all trials of each session, raw and lightly smoothed; nothing is trained.

    Beside it stands what the mean of each token's frames keeps: of noise from frame to frame, which is there before
    smoothing, a code of few numbers can keep a part only.

    Args:
        results: of the dataset.
        tokenizer: what keeps traces.
        sessions: as they were read; the training trials of `results.seed` set the scale, as for any use.
        item: of the rows.
        group: that the sessions are of.
    """
    window = tokenizer.quantizer.model.config.window
    for session in sessions:
        for variant, smoothing in SMOOTHINGS.items():
            prepared = prepare(session, seed=results.seed, smoothing=smoothing)
            traces = [trace[:, : whole_frames(trace.shape[1], window)] for trace in prepared.traces]
            kept = {
                "CalM": tokenizer.reconstruct(prepared),
                f"means of {window} frames": [window_means(trace, window) for trace in traces],
            }
            for method, reconstructed in kept.items():
                scores = [trial_correlation(*pair) for pair in zip(traces, reconstructed, strict=True)]
                where = {"group": group, "session": session.name, "method": method, "variant": variant}
                results.add("corr", np.mean(scores), item=item, n=len(scores), **where)
