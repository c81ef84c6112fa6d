"""What is kept of recordings that were not trained on: raw and smoothed, beside the means of frames."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from calm.data.preparation import prepare
from calm.metrics import trial_correlation
from calm.models.quantizer import NeuralQuantizer
from calm.paper.experiments.reconstruction import score_zero_shot
from calm.paper.results import Results
from calm.training.stages import Trained
from calm.weights.pretrained import Pretrained


@dataclasses.dataclass(frozen=True, eq=False)
class Halving(Pretrained):
    """Keeps every trace, with noise as large as it."""

    def reconstruct(self, session, trials=None, *, unit="z-score"):
        rng = np.random.default_rng(0)
        return [trace[:, :96] + rng.normal(0, trace.std(), (len(trace), 96)) for trace in session.traces]


@pytest.fixture
def scores(make_session, quantizer_config):
    quantizer, results = (
        Trained(NeuralQuantizer(quantizer_config), pd.DataFrame(), "untrained"),
        Results("made", seed=0),
    )
    session = make_session([98] * 40, neurons=6)
    score_zero_shot(results, Halving({}, quantizer, None, {}), [session], item="zero_shot")
    return session, results.table("zero_shot").set_index(["method", "variant"])["value"]


def test_scores_are_those_of_whole_tokens_over_all_trials(scores):
    session, values = scores
    assert values["CalM", "raw"] == pytest.approx(np.sqrt(0.5), abs=0.02)
    prepared = prepare(session, seed=0, smoothing=0.5)
    expected = [trial_correlation(trace[:, :96], means(trace[:, :96])) for trace in prepared.traces]
    assert values["means of 4 frames", "lightly smoothed"] == pytest.approx(np.mean(expected))


def means(trace):
    """Each frame replaced by the mean of its four, the slow way."""
    return np.stack([trace[:, frame // 4 * 4 : frame // 4 * 4 + 4].mean(axis=1) for frame in range(96)], axis=1)


def test_smoothed_noise_is_easier_to_keep(scores):
    _, values = scores
    assert values["means of 4 frames", "raw"] == pytest.approx(0.5, abs=0.03)
    assert values["means of 4 frames", "lightly smoothed"] > 0.65
