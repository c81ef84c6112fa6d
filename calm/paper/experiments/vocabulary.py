"""What the vocabulary is made of: each code decoded, how often it is used, its neighbours, and what comes after it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import entropy

from calm.data.session import Session
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import nearest_codes
from calm.paper.results import Results
from calm.recordings import Recordings
from calm.training.reconstruction import reconstruct

WHERE = {"split": "test", "group": "held-in", "session": "all", "method": "CalM"}  # of all these results


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """How the codes are used on some trials.

    Attributes:
        counts: how many tokens each code is.
        windows: mean of the frames that each code is decoded to, z-scores; NaN where it is never used.
        transitions: how often each code (rows) is followed by each.
    """

    counts: Int[np.ndarray, " code"]
    windows: Float[np.ndarray, "code frame"]
    transitions: Int[np.ndarray, "code code"]

    def entropies(self) -> dict[str, float]:
        """In nats, from the shares in which tokens and pairs of tokens occur, which is too little for rare ones."""
        alone, pairs = self.transitions.sum(axis=1), self.transitions.ravel()
        return {
            "entropy of a token (nats)": float(entropy(self.counts)),
            "entropy given the token before (nats)": float(entropy(pairs) - entropy(alone)),
            "share that repeat the token before": float(np.trace(self.transitions) / pairs.sum()),
        }


def read_vocabulary(quantizer: NeuralQuantizer, sessions: Sequence[Session]) -> Vocabulary:
    """The codes on the test trials of some sessions."""
    count, window = quantizer.config.codes, quantizer.config.window
    counts, sums, transitions = np.zeros(count, int), np.zeros((count, window)), np.zeros((count, count), int)
    for session in sessions:
        for traces, codes in zip(*reconstruct(quantizer, session, session.trials_of("test")), strict=True):
            np.add.at(counts, codes, 1)
            np.add.at(sums, codes, traces.reshape(*codes.shape, window))
            np.add.at(transitions, (codes[:, :-1], codes[:, 1:]), 1)
    with np.errstate(invalid="ignore"):  # of codes that are never used
        return Vocabulary(counts, sums / counts[:, None], transitions)


def describe_vocabulary(results: Results, quantizer: NeuralQuantizer, recordings: Recordings, *, item: str) -> None:
    """Add what the codes are on test trials of held-in sessions; in all tables they are in the order of their level.

    Of `<item>_codes` a row is a frame of a code's mean window; of `<item>_neighbours` one of its nearest codes, whose
    value is how near it is (Eq. 13); of `<item>_transitions` the code after it, whose value is how often.
    """
    vocabulary = read_vocabulary(quantizer, recordings.held_in)
    used = np.flatnonzero(vocabulary.counts)
    order = used[np.argsort(vocabulary.windows[used].mean(axis=1))]
    rank = np.full(len(vocabulary.counts), -1)
    rank[order] = np.arange(len(order))
    code, frame = np.indices(vocabulary.windows[order].shape)
    windows, counts = vocabulary.windows[order].ravel(), vocabulary.counts[order].repeat(frame.shape[1])
    where = {"item": f"{item}_codes", "code": code.ravel(), "frame": frame.ravel(), "n": counts}
    results.add_each("z-score", windows, **where, **WHERE)
    near = rank[nearest_codes(quantizer.codebook.vectors.detach().cpu(), recordings.profile.dat.neighbours)[order]]
    code, place = np.nonzero(near >= 0)
    where = {"item": f"{item}_neighbours", "code": code, "other": near[code, place]}
    results.add_each("neighbour", place + 1.0, **where, **WHERE)
    pairs = vocabulary.transitions[np.ix_(order, order)]
    code, other = np.nonzero(pairs)
    where = {"item": f"{item}_transitions", "code": code, "other": other}
    results.add_each("transitions", pairs[code, other], **where, **WHERE)
    for metric, value in vocabulary.entropies().items():
        results.add(metric, value, item=item, n=vocabulary.counts.sum(), **WHERE)
