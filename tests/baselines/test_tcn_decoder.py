"""TCN decoder: causality, receptive field, and that it learns."""

import numpy as np
import pytest
import torch
from decoding_cases import decodable_session

from calm.baselines.tcn import TCNDecoder
from calm.config.fitting import FitConfig
from calm.config.rivals import TCNDecoderConfig
from calm.errors import CalmError
from calm.metrics import channel_scores
from calm.models.interfaces import DecodingBatch
from calm.training.decoding import DecoderTask, NetworkDecoder
from calm.training.stages import train

NEURONS, FRAMES = 3, 40
SMALL = TCNDecoderConfig(width=6, layers=3, kernel=3)


def make(config=SMALL):
    return TCNDecoder(config, {"only": NEURONS}, 2, 6.0).double().eval()


@pytest.fixture
def traces():
    return torch.randn(2, NEURONS, FRAMES, dtype=torch.float64)


@pytest.mark.parametrize("frame", [0, 5, 25, FRAMES - 1])
def test_later_frames_do_not_reach_earlier_behaviour(traces, frame):
    model, changed = make(), traces.clone()
    changed[..., frame:] += 1
    before, after = model.decode("only", traces), model.decode("only", changed)
    assert before.shape == (2, FRAMES, 2)
    assert torch.equal(before[:, :frame], after[:, :frame])
    assert (before[:, frame] != after[:, frame]).all()  # the present frame counts


@pytest.mark.parametrize("frame", [5, 25, FRAMES - 2])
@pytest.mark.parametrize("look_ahead", [0, 1, 3, 8])
def test_gradient_of_decoded_behaviour_is_zero_beyond_the_look_ahead(traces, frame, look_ahead):
    traces.requires_grad_()
    make(SMALL.changed(look_ahead=look_ahead)).decode("only", traces)[:, frame].sum().backward()
    newest = min(frame + look_ahead, FRAMES - 1)
    assert not traces.grad[..., newest + 1 :].any() and traces.grad[..., newest].all()


def test_looking_ahead_is_what_the_causal_network_says_later(traces):
    causal, ahead = make(), make(SMALL.changed(look_ahead=4))
    ahead.load_state_dict(causal.state_dict())
    later = causal.decode("only", torch.nn.functional.pad(traces, (0, 4)))[:, 4:]
    assert torch.equal(ahead.decode("only", traces), later)


@pytest.mark.parametrize(("layers", "kernel", "field"), [(3, 3, 15), (2, 5, 13), (2, 1, 1)])
def test_receptive_field_is_exactly_what_reaches_a_frame(layers, kernel, field, traces):
    model = make(TCNDecoderConfig(width=6, layers=layers, kernel=kernel))
    # Where every ReLU is open nothing that arrives is blocked, and all arrives with the same sign.
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1.0)
    traces = traces.abs().requires_grad_()
    model.decode("only", traces)[:, -1].sum().backward()
    assert traces.grad.any(dim=1).all(dim=0).tolist() == [False] * (FRAMES - field) + [True] * field


def test_published_size_looks_back_61_frames():
    layers = TCNDecoder(TCNDecoderConfig(), {"only": 4}, 3, 6.0).layers
    assert 1 + sum(layer.reach for layer in layers) == 61


def test_loss_is_the_squared_error_over_the_recorded_frames(traces):
    model, behaviour = make(), torch.randn(2, FRAMES, 2, dtype=torch.float64)
    behaviour[0, :10, 1] = behaviour[1, 30:, 0] = torch.nan
    batch = DecodingBatch("only", traces, behaviour)
    loss = model.training_loss(batch)["loss"]
    known = behaviour.isfinite()
    expected = (model.decode("only", traces)[known] - behaviour[known]).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert model.window is None and model.count_predictions(batch) == 2 * FRAMES * 2 - 20
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_several_sessions_are_refused():
    with pytest.raises(CalmError, match="single-session network: train one for each of first, second"):
        TCNDecoder(SMALL, {"first": 3, "second": 4}, 2, 6.0)


def test_it_learns_lagged_linear_behaviour(tmp_path):
    session = decodable_session()
    config = FitConfig(steps=240, rows=48, learning_rate=1e-2, weight_decay=0, validate_every=40)
    sizes = TCNDecoderConfig(width=32, layers=2, kernel=3, dropout=0.0)
    trained = train(DecoderTask(TCNDecoder, sizes, [session]), config, seed=0, runs=tmp_path)
    trials = session.trials_of("test")
    decoded = NetworkDecoder(trained.model, session.name).decode([session.traces[trial] for trial in trials])
    pairs = zip(trials, decoded, strict=True)
    scores = [channel_scores(session.behaviour[trial], guess)["r2"] for trial, guess in pairs]
    assert np.mean(scores, axis=0).min() >= 0.9
