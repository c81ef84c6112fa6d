"""Figure 1B: how well tokens keep the traces, on each split, held-in and held-out; and what simpler codes keep.

The same of recordings that a tokenizer never saw, which is not in the paper.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import IncrementalPCA

from calm.data.preparation import prepare
from calm.data.session import SPLITS, Session
from calm.metrics import trial_correlation
from calm.models.quantizer import NeuralQuantizer
from calm.paper.results import Results
from calm.recordings import Recordings
from calm.training.features import whole_frames
from calm.training.reconstruction import reconstruction_correlations
from calm.weights.pretrained import Pretrained

SMOOTHINGS = {"raw": 1.0, "lightly smoothed": 0.5}  # weight of the newest frame
COMPONENTS = 8  # and tokens of a window that has as many


def score_reconstruction(results: Results, quantizer: NeuralQuantizer, recordings: Recordings, *, item: str) -> None:
    """Add the mean correlation over trials on each split of each session, held-in and held-out ones."""
    for group, session in recordings.each():
        for split in SPLITS:
            values = reconstruction_correlations(quantizer, session, session.trials_of(split))
            where = {"split": split, "group": group, "session": session.name, "method": "CalM"}
            results.add("corr", values.mean(), item=item, n=len(values), **where)


def score_control(results: Results, recordings: Recordings, *, item: str) -> None:
    """Add what two codes of one number a token keep of test trials, smoothed and as they were before it.

    Means of a token's frames; and the first eight principal components of windows of eight tokens, the best linear
    code of as many numbers, fitted to the training trials of held-in sessions. Numbers are not quantized.
    """
    window, smoothing = recordings.profile.quantizer.window, recordings.smoothing
    for variant, weight in {"smoothed": 1.0, "not smoothed": smoothing}.items() if smoothing < 1 else [("", 1.0)]:
        components = fit_components(recordings.held_in, COMPONENTS * window, weight)
        for group, session in recordings.each():
            where = {"split": "test", "group": group, "session": session.name, "variant": variant}
            for method, values in code_correlations(session, window, weight, components).items():
                results.add("corr", np.mean(values), item=item, n=len(values), method=method, **where)


def code_correlations(
    session: Session, window: int, weight: float, components: IncrementalPCA
) -> dict[str, list[float]]:
    """Correlation of each test trial, up to its last whole token, with what each code keeps of it."""
    means, linear = f"means of {window} frames", f"{COMPONENTS} components of {COMPONENTS * window} frames"
    scores: dict[str, list[float]] = {means: [], linear: []}
    for trial in session.trials_of("test"):
        trace = unsmooth(session.traces[trial], weight)
        trace = trace[:, : whole_frames(trace.shape[1], window)]
        scores[means].append(trial_correlation(trace, window_means(trace, window)))
        scores[linear].append(trial_correlation(trace, keep_components(trace, components)))
    return scores


def unsmooth(trace: Float[np.ndarray, "neuron frame"], weight: float) -> Float[np.ndarray, "neuron frame"]:
    """The trace before `calm.data.preparation.smooth` with this weight, in the same units; 1 leaves it as it is."""
    before = np.concatenate([trace[:, :1], trace[:, :-1]], axis=1)
    return (trace - (1 - weight) * before) / weight


def window_means(trace: Float[np.ndarray, "neuron frame"], window: int) -> Float[np.ndarray, "neuron frame"]:
    """Whole windows, each frame replaced by the mean of its window."""
    return trace.reshape(len(trace), -1, window).mean(axis=2).repeat(window, axis=1)


def windows_of(trace: Float[np.ndarray, "neuron frame"], window: int) -> Float[np.ndarray, "stretch window"]:
    """The stretches of all neurons; the last one is filled up with the last frame."""
    return np.pad(trace, ((0, 0), (0, -trace.shape[1] % window)), mode="edge").reshape(-1, window)


def fit_components(sessions: Sequence[Session], window: int, weight: float) -> IncrementalPCA:
    """Principal components of the windows of all neurons on training trials, smoothed or not."""
    components = IncrementalPCA(COMPONENTS)
    for session in sessions:
        traces = [unsmooth(session.traces[trial], weight) for trial in session.trials_of("train")]
        components.partial_fit(np.concatenate([windows_of(trace, window) for trace in traces]))
    return components


def keep_components(
    trace: Float[np.ndarray, "neuron frame"], components: IncrementalPCA
) -> Float[np.ndarray, "neuron frame"]:
    """What the components keep of a trace."""
    windows = windows_of(trace, components.n_features_in_)
    kept = components.inverse_transform(components.transform(windows))
    return kept.reshape(len(trace), -1)[:, : trace.shape[1]]


def score_zero_shot(
    results: Results, weights: Pretrained, sessions: Sequence[Session], *, item: str, group: str = ""
) -> None:
    """Add the mean correlation over all trials of each session, raw and lightly smoothed; nothing is trained.

    Beside it stands what the mean of each token's frames keeps: of noise from frame to frame, which is there before
    smoothing, a code of few numbers can keep a part only.

    Args:
        results: of the dataset.
        weights: whose tokens keep traces.
        sessions: as they were read; the training trials of `results.seed` set the scale, as for any use.
        item: of the rows.
        group: that the sessions are of.
    """
    window = weights.quantizer.model.config.window
    for session in sessions:
        for variant, smoothing in SMOOTHINGS.items():
            prepared = prepare(session, seed=results.seed, smoothing=smoothing)
            traces = [trace[:, : whole_frames(trace.shape[1], window)] for trace in prepared.traces]
            kept = {
                "CalM": weights.reconstruct(prepared),
                f"means of {window} frames": [window_means(trace, window) for trace in traces],
            }
            for method, reconstructed in kept.items():
                scores = [trial_correlation(*pair) for pair in zip(traces, reconstructed, strict=True)]
                where = {"group": group, "session": session.name, "method": method, "variant": variant}
                results.add("corr", np.mean(scores), item=item, n=len(scores), **where)
