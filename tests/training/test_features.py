"""Features: those of the transformer, causal, kept on the disk and found again; the raw ones; whole tokens."""

import dataclasses

import numpy as np
import pytest
import torch
from backbones import frozen

from calm.errors import CalmError
from calm.models.transformer import TokenBatch
from calm.training.features import BackboneFeatures, RawFeatures, on_whole_tokens, store_features


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


def test_stored_features_are_the_computed_ones_and_are_computed_once(extractor, uneven, tmp_path, monkeypatch):
    first = store_features(extractor, uneven, tmp_path)
    computed = [extractor.extract("uneven", trace).numpy() for trace in uneven.traces]
    monkeypatch.setattr(type(extractor), "extract", lambda *_: pytest.fail("computed again"))
    for stored in (first, store_features(extractor, uneven, tmp_path)):
        assert stored.tokens.tolist() == (uneven.frames // 4).tolist()
        for trial, expected in enumerate(computed):
            np.testing.assert_array_equal(stored.features(trial), expected)


def test_features_depend_on_the_traces_and_on_what_made_them_alone(extractor, uneven, tmp_path, monkeypatch):
    store_features(extractor, uneven, tmp_path)
    monkeypatch.setattr(type(extractor), "extract", lambda *_: pytest.fail("computed again"))
    relabelled = uneven.trials.assign(split=uneven.trials["split"].to_numpy()[::-1])
    behaviour = tuple(0 * values for values in uneven.behaviour)
    store_features(extractor, dataclasses.replace(uneven, trials=relabelled, behaviour=behaviour), tmp_path)
    others = [
        dataclasses.replace(uneven, name="other"),
        dataclasses.replace(uneven, traces=(uneven.traces[0] + 1, *uneven.traces[1:])),
    ]
    for other in others:
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            store_features(extractor, other, tmp_path)


def test_other_weights_make_other_features(backbone, uneven, tmp_path, monkeypatch):
    store_features(backbone, uneven, tmp_path)
    monkeypatch.setattr(BackboneFeatures, "extract", lambda *_: pytest.fail("computed again"))
    retrained = dataclasses.replace(backbone.transformer, key="another key")
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        store_features(dataclasses.replace(backbone, transformer=retrained), uneven, tmp_path)


def test_a_damaged_file_is_refused(extractor, uneven, tmp_path):
    stored = store_features(extractor, uneven, tmp_path)
    content = bytearray(stored.trials.path.read_bytes())
    content[-1] ^= 1  # a single bit
    stored.trials.path.write_bytes(content)
    with pytest.raises(CalmError, match=r"features\.bin is damaged .*: delete .* and run again"):
        store_features(extractor, uneven, tmp_path)
    stored.trials.path.write_bytes(content[:-2])
    with pytest.raises(CalmError, match="cut short"):
        stored.features(len(uneven.traces) - 1)


def test_a_batch_holds_the_features_and_the_behaviour_of_its_trials(extractor, uneven, tmp_path):
    stored, trials = store_features(extractor, uneven, tmp_path), np.array([5, 2])  # of 31 frames
    batch = stored.whole(trials)
    assert batch.session == "uneven" and batch.behaviour.shape == (2, 28, 2)
    for place, trial in enumerate(trials):
        np.testing.assert_array_equal(batch.features[:, place], stored.features(trial))
        np.testing.assert_array_equal(batch.behaviour[place], uneven.behaviour[trial][:28])
    part = stored.batch([(5, slice(2, 4)), (2, slice(0, 2))])
    np.testing.assert_array_equal(part.features[:, 0], stored.features(5)[2:4])
    np.testing.assert_array_equal(part.behaviour[0], uneven.behaviour[5][8:16])


def test_a_trial_shorter_than_a_token_is_refused(uneven, tmp_path):
    with pytest.raises(CalmError, match="trial 0 has 18 frames, less than the 20 of a token: set `min_frames`"):
        store_features(RawFeatures(window=20), uneven, tmp_path)


def test_frames_behind_the_last_whole_token_are_left_out(uneven):
    cut = on_whole_tokens(uneven.behaviour[:3], 4)
    assert [len(values) for values in cut] == [16, 24, 28]
    assert all(np.array_equal(values, uneven.behaviour[trial][: len(values)]) for trial, values in enumerate(cut))
