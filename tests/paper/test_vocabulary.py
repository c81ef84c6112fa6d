"""What the vocabulary is made of, and its panels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from calm.config.models import QuantizerConfig
from calm.data.preparation import prepare
from calm.models.quantizer import NeuralQuantizer
from calm.paper.experiments.vocabulary import Vocabulary, describe_vocabulary, read_vocabulary
from calm.paper.plots import vocabulary as panels
from calm.paper.results import Results
from calm.profile import load_profile
from calm.recordings import Recordings
from calm.training.reconstruction import reconstruct

SIZES = {"width": 16, "codes": 12, "encoder_layers": 1, "decoder_layers": 1, "predictor_layers": 1, "heads": 2}


@pytest.fixture
def session(make_session):
    return prepare(make_session([40, 31] * 10), seed=0)


@pytest.fixture
def quantizer():
    torch.manual_seed(0)
    return NeuralQuantizer(QuantizerConfig(**SIZES))


def described(quantizer, session):
    results = Results("made", seed=0)
    describe_vocabulary(results, quantizer, Recordings("made", [session], [], load_profile("smoke")), item="words")
    return results


def test_every_token_of_the_test_trials_counts_once(quantizer, session):
    vocabulary, trials = read_vocabulary(quantizer, [session]), session.trials_of("test")
    traces, codes = reconstruct(quantizer, session, trials)
    assert vocabulary.counts.sum() == sum(each.size for each in codes)
    assert vocabulary.transitions.sum() == sum(each[:, 1:].size for each in codes)
    code = int(vocabulary.counts.argmax())
    windows = np.concatenate([each.reshape(-1, 4) for each in traces])
    mean = windows[np.concatenate([each.ravel() for each in codes]) == code].mean(axis=0)
    np.testing.assert_allclose(vocabulary.windows[code], mean, rtol=1e-4)


def test_entropies_are_those_of_known_chains():
    windows = np.zeros((2, 4))
    even = Vocabulary(np.array([8, 8]), windows, np.array([[4, 4], [4, 4]])).entropies()
    assert list(even.values()) == pytest.approx([np.log(2), np.log(2), 0.5])
    alternating = Vocabulary(np.array([8, 8]), windows, np.array([[0, 7], [7, 0]])).entropies()
    assert list(alternating.values()) == pytest.approx([np.log(2), 0, 0], abs=1e-12)


def test_codes_are_in_the_order_of_their_level_and_no_code_is_its_own_neighbour(quantizer, session):
    results = described(quantizer, session)
    levels = results.table("words_codes").groupby("code")["value"].mean()
    assert len(levels) > 1 and levels.is_monotonic_increasing
    near = results.table("words_neighbours")
    assert (near["code"] != near["other"]).all() and near["other"].isin(levels.index).all()
    total = results.table("words_transitions")["value"].sum()
    assert total == read_vocabulary(quantizer, [session]).transitions.sum()


@pytest.mark.usefixtures("drawing")
def test_panels_show_each_code_at_its_place(quantizer, session):
    results = described(quantizer, session)
    codes, pairs = results.table("words_codes"), results.table("words_transitions")
    axes = plt.subplots(1, 4)[1]
    panels.alphabet(axes[0], codes)
    first = axes[0].lines[1]  # after that of zero
    np.testing.assert_allclose(first.get_ydata(), codes.query("code == 0").sort_values("frame")["value"])
    assert abs(first.get_xdata().mean()) < 1e-9
    panels.usage(axes[1], codes)
    assert sum(bar.get_height() for bar in axes[1].patches) == pytest.approx(100)
    panels.neighbours(axes[2], results.table("words_neighbours"), codes["code"].nunique())
    panels.transitions(axes[3], pairs, codes["code"].nunique())
    shares = np.nansum(axes[3].images[0].get_array(), axis=0)  # over what comes next
    np.testing.assert_allclose(shares[np.unique(pairs["code"])], 1)
