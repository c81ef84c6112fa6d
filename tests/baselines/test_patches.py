"""Continuous patches: causality, symmetries, objective and rollout; and that they learn."""

import pytest
import torch
from linear_systems import noise_free_session, scores_around_training

from calm.baselines.patches import ContinuousPatches
from calm.config.fitting import FitConfig
from calm.config.models import PatchesConfig
from calm.errors import CalmError
from calm.models.interfaces import BOUND, WindowBatch
from calm.models.layers import Cache

NEURONS, CONTEXT, FRAMES, PATCH = {"first": 3, "second": 4}, 12, 30, 3
SMALL = PatchesConfig(width=8, layers=2, heads=2, ffn=16, patch=PATCH)


def make(config=SMALL):
    torch.manual_seed(0)
    model = ContinuousPatches(config, CONTEXT, NEURONS).double().eval()
    for embedding in (*model.neuron_embeddings, *model.session_embeddings):
        torch.nn.init.normal_(embedding)
    return model


@pytest.fixture
def model():
    return make()


@pytest.fixture
def traces():
    torch.manual_seed(1)
    return torch.randn(2, NEURONS["second"], FRAMES, dtype=torch.float64)


def next_patches(model, traces):
    return model("second", model.cut(traces))


@pytest.mark.parametrize("patch", [1, 4, FRAMES // PATCH - 1])
def test_later_frames_do_not_reach_earlier_predictions(model, traces, patch):
    changed = traces.clone()
    changed[..., patch * PATCH :] += torch.randn(FRAMES - patch * PATCH, dtype=torch.float64)
    before, after = next_patches(model, traces), next_patches(model, changed)
    assert torch.equal(before[:, :, :patch], after[:, :, :patch])
    assert (before[:, :, patch] != after[:, :, patch]).all()


def test_permuting_neurons_with_their_embeddings_permutes_the_forecast(model, traces):
    order, before = torch.tensor([2, 0, 3, 1]), model.forecast("second", traces, 7)
    without_them = model.forecast("second", traces[:, order], 7)
    own = model.neuron_embeddings[model.index["second"]].data
    own.copy_(own[order])
    after = model.forecast("second", traces[:, order], 7)
    assert (after - before[:, order]).abs().max() < 1e-12
    assert (without_them - before[:, order]).abs().max() > 1e-2


def test_the_past_of_one_neuron_reaches_all_the_others(model, traces):
    changed = traces.clone()
    changed[:, 0, 2 * PATCH] += 1
    differs = (next_patches(model, changed) != next_patches(model, traces)).any(-1)
    assert differs[:, :, 2:].all() and not differs[:, :, :2].any()


def test_trials_of_a_batch_do_not_reach_each_other(model, traces):
    changed = traces.clone()
    changed[0] += 1
    before, after = next_patches(model, traces), next_patches(model, changed)
    assert (before[1] - after[1]).abs().max() < 1e-12 < (before[0] - after[0]).abs().min()


def test_a_network_without_output_repeats_the_last_frame(model, traces):
    for parameter in model.out.parameters():
        torch.nn.init.zeros_(parameter)
    forecast = model.forecast("second", traces[..., :CONTEXT], 8)
    assert torch.equal(forecast, traces[..., CONTEXT - 1 : CONTEXT].expand(-1, -1, 8))


@pytest.mark.parametrize("parts", [[1] * 10, [4, 6], [1, 8, 1]])
def test_patches_in_parts_are_continued_as_those_of_the_whole_trial(model, traces, parts):
    caches = [Cache() for _ in model.layers]
    pieces = [model("second", part, caches) for part in model.cut(traces).split(parts, dim=2)]
    assert (torch.cat(pieces, dim=2) - next_patches(model, traces)).abs().max() < 1e-12


@pytest.mark.parametrize("horizon", [1, PATCH, 8])
def test_forecast_feeds_every_patch_back(model, traces, horizon):
    frames = traces[..., :CONTEXT]
    for _ in range(3):
        frames = torch.cat([frames, next_patches(model, frames)[:, :, -1]], dim=-1)
    forecast = model.forecast("second", traces[..., :CONTEXT], horizon)
    assert forecast.shape[-1] == horizon
    assert (forecast - frames[..., CONTEXT : CONTEXT + horizon]).abs().max() < 1e-12


def test_of_a_longer_context_only_the_last_frames_are_used(model, traces):
    forecast = model.forecast("second", traces, 5)
    assert torch.equal(forecast, model.forecast("second", traces[..., -CONTEXT:].clone(), 5))


def test_a_rollout_that_diverges_stays_finite(model, traces):
    torch.nn.init.constant_(model.out.bias, 2 * BOUND)
    assert model.forecast("second", traces, 20).abs().max() == BOUND


def test_loss_is_the_mean_squared_error_of_each_next_patch(traces):
    model, errors = make(SMALL.changed(scheduled_sampling=0.0)), []
    for end in range(PATCH, FRAMES, PATCH):
        predicted = next_patches(model, traces[..., :end])[:, :, -1]
        errors.append((predicted - traces[..., end : end + PATCH]).square())
    loss = model.training_loss(WindowBatch("second", traces))["loss"]
    torch.testing.assert_close(loss, torch.stack(errors).mean(), rtol=1e-12, atol=0)
    assert model.window is None


@pytest.mark.parametrize("block", [1, 3, 50])
def test_scheduled_sampling_feeds_one_block_of_predictions_back(traces, block):
    model, starts = make(SMALL.changed(block=block)), set()
    patches = model.cut(traces)
    before, predicted, length = patches.clone(), torch.randn_like(patches), min(block, FRAMES // PATCH - 1)
    for _ in range(80):
        mixed = model.feed_back(patches, predicted)
        fed = (mixed != patches).all(-1)
        where = fed[0, 0].nonzero().flatten().tolist()
        assert torch.equal(fed, fed[:1, :1].expand_as(fed)) and torch.equal(patches, before)
        assert where == list(range(where[0], where[0] + length)) and where[0] > 0
        assert all(torch.equal(mixed[:, :, patch], predicted[:, :, patch - 1]) for patch in where)
        starts.add(where[0])
    assert starts == set(range(1, FRAMES // PATCH - length + 1))


def test_what_was_fed_back_is_compared_with_the_true_patches(traces):
    model = make(SMALL.changed(scheduled_sampling=1.0, block=50))  # all but the first patch
    patches = model.cut(traces)
    inputs = torch.cat([patches[:, :, :1], next_patches(model, traces)[:, :, :-1]], dim=2)
    errors = model("second", inputs)[:, :, :-1] - patches[:, :, 1:]
    loss = model.training_loss(WindowBatch("second", traces))["loss"]
    torch.testing.assert_close(loss, errors.square().mean(), rtol=1e-12, atol=0)


def test_frames_behind_the_last_whole_patch_are_not_trained_on(model, traces):
    torch.manual_seed(0)
    whole = model.training_loss(WindowBatch("second", traces[..., :27]))
    torch.manual_seed(0)
    assert model.training_loss(WindowBatch("second", traces[..., :29])) == whole


def test_a_step_on_one_session_leaves_the_embeddings_of_the_others(model, traces):
    model.training_loss(WindowBatch("second", traces))["loss"].backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"neuron_embeddings.0", "session_embeddings.0"}
    assert all(model.neuron_embeddings[1].grad.any(dim=1))


def test_a_context_that_ends_within_a_patch_is_refused():
    with pytest.raises(CalmError, match="13 frames ends within a patch of 3"):
        ContinuousPatches(SMALL, CONTEXT + 1, NEURONS)


def test_they_learn_a_linear_system(tmp_path):
    session = noise_free_session()
    config = PatchesConfig(width=32, layers=1, heads=2, ffn=64, embedding_sd=1.0, dropout=0.0)
    model = ContinuousPatches(config, 20, {session.name: 8})
    numbers = FitConfig(steps=150, learning_rate=1e-2, validate_every=50)
    before, after = scores_around_training(model, session, 20, numbers, tmp_path)
    assert before < 0.5 and after >= 0.95
