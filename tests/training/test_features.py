"""Features: causal, of the transformer or raw, computed once or whenever they are asked for; whole tokens."""

import numpy as np
import pytest
import torch
from backbones import frozen

from calm.errors import CalmError
from calm.models.transformer import TokenBatch
from calm.training.features import FeatureSession, RawFeatures, on_whole_tokens


@pytest.fixture
def backbone(quantizer, dat):
    return frozen(quantizer, dat)


@pytest.fixture(params=["backbone", "raw"])
def extractor(request):
    return request.getfixturevalue("backbone") if request.param == "backbone" else RawFeatures(window=4)


def test_backbone_features_are_those_of_the_transformer_on_the_tokens(backbone, quantizer, dat, uneven):
    trace = uneven.traces[2]
    tokens = quantizer.encode_codes(torch.from_numpy(trace))
    expected = dat.features(TokenBatch("uneven", torch.arange(5), tokens[None]))[:, 0]
    found = backbone.extract("uneven", trace)
    assert found.shape == (trace.shape[1] // 4, 5, backbone.channels) and found.dtype == torch.float16
    assert torch.equal(found, expected.half())
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("frame", [4, 11, 20])
def test_later_frames_change_no_earlier_feature(extractor, uneven, frame):
    trace, token = uneven.traces[1], frame // 4
    changed = trace.copy()
    changed[:, frame:] = -3 * changed[:, frame:] + 1
    before, after = extractor.extract("uneven", trace), extractor.extract("uneven", changed)
    assert torch.equal(before[:token], after[:token]) and not torch.equal(before[token], after[token])


def test_raw_features_are_the_frames_of_a_token_and_of_those_before_it_and_a_constant():
    trace = np.arange(1, 23, dtype=np.float32).reshape(2, 11)
    found = RawFeatures(window=3, tokens=2).extract("any", trace)
    assert found.shape == (3, 2, 7)  # the last two frames belong to no token
    padded = np.concatenate([np.zeros((2, 3)), trace], axis=1)
    for token, neuron in np.ndindex(3, 2):
        assert found[token, neuron].tolist() == [*padded[neuron, 3 * token : 3 * token + 6], 1]


def test_features_of_a_small_session_are_computed_once(extractor, uneven, monkeypatch):
    features = FeatureSession(uneven, extractor)
    assert features.tokens.tolist() == (uneven.frames // 4).tolist()
    expected = [extractor.extract("uneven", trace).numpy() for trace in uneven.traces]
    first = [features.features(trial) for trial in range(len(uneven.traces))]
    monkeypatch.setattr(type(extractor), "extract", lambda *_: pytest.fail("computed again"))
    for trial, values in enumerate(expected):
        np.testing.assert_array_equal(first[trial], values)
        np.testing.assert_array_equal(features.features(trial), values)


def test_features_without_room_are_computed_whenever_they_are_asked_for(extractor, uneven, monkeypatch):
    one, same = (extractor.extract("uneven", uneven.traces[trial]).numpy() for trial in (5, 2))
    assert one.nbytes == same.nbytes
    for limit, kept in ((one.nbytes - 1, 0), (one.nbytes, 1), (2 * one.nbytes, 2)):
        monkeypatch.setattr("calm.training.features.KEPT", limit)
        extractor.kept.clear()
        features = FeatureSession(uneven, extractor)
        for trial, expected in ((5, one), (2, same), (5, one)):
            np.testing.assert_array_equal(features.features(trial), expected)
        assert len(extractor.kept) == kept


def test_features_are_kept_by_session_and_traces(extractor, uneven):
    trace = uneven.traces[5]
    first = extractor.features("uneven", trace)
    assert extractor.features("uneven", trace.copy()) is first
    changed = trace.copy()
    changed[0, 0] += 1
    assert not np.array_equal(extractor.features("uneven", changed), first)
    assert [name for name, _ in extractor.kept] == ["uneven", "uneven"]


def test_a_batch_holds_the_features_and_the_behaviour_of_its_trials(extractor, uneven):
    stored, trials = FeatureSession(uneven, extractor), np.array([5, 2])  # of 31 frames
    batch = stored.whole(trials)
    assert batch.session == "uneven" and batch.behaviour.shape == (2, 28, 2)
    for place, trial in enumerate(trials):
        np.testing.assert_array_equal(batch.features[:, place], stored.features(trial))
        np.testing.assert_array_equal(batch.behaviour[place], uneven.behaviour[trial][:28])
    part = stored.batch([(5, slice(2, 4)), (2, slice(0, 2))])
    np.testing.assert_array_equal(part.features[:, 0], stored.features(5)[2:4])
    np.testing.assert_array_equal(part.behaviour[0], uneven.behaviour[5][8:16])


def test_a_trial_shorter_than_a_token_is_refused(uneven):
    with pytest.raises(CalmError, match="trial 0 has 18 frames, less than the 20 of a token: set `min_frames`"):
        FeatureSession(uneven, RawFeatures(window=20))


def test_frames_behind_the_last_whole_token_are_left_out(uneven):
    cut = on_whole_tokens(uneven.behaviour[:3], 4)
    assert [len(values) for values in cut] == [16, 24, 28]
    assert all(np.array_equal(values, uneven.behaviour[trial][: len(values)]) for trial, values in enumerate(cut))
