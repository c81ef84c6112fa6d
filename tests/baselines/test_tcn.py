"""TCN: causality, receptive field, objective and rollout; and that it learns."""

import pytest
import torch
from linear_systems import noise_free_session, scores_around_training

from calm.baselines.linear import BOUND
from calm.baselines.tcn import TCN, Past
from calm.config.fitting import FitConfig
from calm.config.rivals import TCNConfig
from calm.errors import CalmError
from calm.models.interfaces import WindowBatch

NEURONS, CONTEXT, FRAMES = 3, 12, 40
SMALL = TCNConfig(width=6, layers=3, kernel=3)


def make(config=SMALL):
    return TCN(config, CONTEXT, {"only": NEURONS}).double().eval()


@pytest.fixture
def model():
    return make()


@pytest.fixture
def traces():
    return torch.randn(2, NEURONS, FRAMES, dtype=torch.float64)


@pytest.mark.parametrize("frame", [0, 5, 25, FRAMES - 1])
def test_later_frames_do_not_reach_earlier_predictions(model, traces, frame):
    changed = traces.clone()
    changed[..., frame:] += 1
    before, after = model(traces), model(changed)
    assert torch.equal(before[..., :frame], after[..., :frame])
    assert (before[..., frame] != after[..., frame]).all()


@pytest.mark.parametrize("frame", [5, 25])
def test_gradient_of_a_prediction_is_zero_at_all_later_frames(model, traces, frame):
    traces.requires_grad_()
    model(traces)[..., frame].sum().backward()
    assert not traces.grad[..., frame + 1 :].any() and traces.grad[..., frame].all()


@pytest.mark.parametrize(("layers", "kernel", "field"), [(3, 3, 15), (2, 5, 13), (1, 4, 4), (2, 1, 1)])
def test_receptive_field_is_exactly_what_reaches_a_prediction(layers, kernel, field, traces):
    model = make(TCNConfig(width=6, layers=layers, kernel=kernel))
    # Where every ReLU is open nothing that arrives is blocked, and all arrives with the same sign.
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1.0)
    traces = traces.abs().requires_grad_()
    model(traces)[..., -1].sum().backward()
    reached = traces.grad.any(dim=1).all(dim=0)
    assert reached.tolist() == [False] * (FRAMES - field) + [True] * field


def test_published_size_looks_back_125_frames():
    layers = TCN(TCNConfig(), 40, {"only": 4}).layers
    assert 1 + sum(layer.reach for layer in layers) == 125


def test_frames_before_the_receptive_field_do_not_change_a_prediction(model, traces):
    before = model(traces)[..., -1]
    for frame, same in [(FRAMES - 16, True), (FRAMES - 15, False)]:
        changed = traces.clone()
        changed[..., frame] += 1
        assert torch.equal(model(changed)[..., -1], before) == same


def test_layers_are_dilated_causal_convolutions_added_to_their_input(model, traces):
    x = traces
    for depth, layer in enumerate(model.layers):
        weight, bias, dilation, frames = layer.convolution.weight, layer.convolution.bias, 2**depth, []
        for frame in range(FRAMES):
            total = bias.expand(2, -1)
            for tap in range(SMALL.kernel):
                source = frame - (SMALL.kernel - 1 - tap) * dilation
                if source >= 0:  # before the trial there are zeros
                    total = total + x[..., source] @ weight[..., tap].T
            frames.append(total.clamp(min=0))
        x = layer.shortcut(x) + torch.stack(frames, dim=-1)
    assert model.layers[0].shortcut.kernel_size == (1,)
    assert all(isinstance(layer.shortcut, torch.nn.Identity) for layer in model.layers[1:])
    torch.testing.assert_close(model(traces), model.head(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", [[1] * FRAMES, [10, 30], [1, 20, 19]])
@pytest.mark.parametrize("kernel", [1, 3])
def test_prediction_in_parts_is_that_of_the_whole_trial(kernel, parts, traces):
    model = make(SMALL.changed(kernel=kernel))
    pasts = [Past() for _ in model.layers]
    pieces = torch.cat([model(part, pasts) for part in traces.split(parts, dim=-1)], dim=-1)
    assert (pieces - model(traces)).abs().max() < 1e-12


def test_loss_is_the_mean_squared_error_of_each_next_frame(model, traces):
    errors = []
    for frame in range(FRAMES - 1):
        predicted = model(traces[..., : frame + 1])[..., -1]
        errors.append((predicted - traces[..., frame + 1]).square())
    loss = model.training_loss(WindowBatch("only", traces))["loss"]
    torch.testing.assert_close(loss, torch.stack(errors).mean(), rtol=1e-12, atol=0)
    assert model.window is None


def test_forecast_feeds_every_prediction_back(model, traces):
    frames = traces[..., :CONTEXT]
    for _ in range(20):
        frames = torch.cat([frames, model(frames)[..., -1:]], dim=-1)
    forecast = model.forecast("only", traces[..., :CONTEXT], 20)
    assert forecast.std() > 0.1 and (forecast - frames[..., CONTEXT:]).abs().max() < 1e-12


def test_of_a_longer_context_only_the_last_frames_are_used(model, traces):
    forecast = model.forecast("only", traces, 3)
    assert (forecast - model.forecast("only", traces[..., -CONTEXT:].clone(), 3)).abs().max() < 1e-12
    assert (forecast[..., 0] - model(traces)[..., -1]).abs().max() > 1e-3  # it would see 3 frames more


def test_a_rollout_that_diverges_stays_finite(model, traces):
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 10.0)
    assert model.forecast("only", traces[..., :CONTEXT].abs(), 20).abs().max() == BOUND


def test_dropout_is_that_of_the_config_and_off_in_use(model, traces):
    assert torch.equal(model(traces), model(traces))
    assert not torch.equal(model.train()(traces), model(traces))
    silenced = make(SMALL.changed(dropout=1.0)).train()
    shortcut = silenced.layers[0].shortcut(traces)
    torch.testing.assert_close(silenced(traces), silenced.head(shortcut), rtol=1e-12, atol=0)


def test_several_sessions_are_refused():
    with pytest.raises(CalmError, match="single-session network: train one for each of first, second"):
        TCN(SMALL, CONTEXT, {"first": 3, "second": 4})


def test_it_learns_a_linear_system(tmp_path):
    session = noise_free_session()
    model = TCN(TCNConfig(width=32, layers=3, kernel=3, dropout=0.0), 20, {session.name: 8})
    config = FitConfig(steps=270, learning_rate=1e-2, validate_every=45)
    before, after = scores_around_training(model, session, 20, config, tmp_path)
    assert before < 0.5 and after >= 0.95
