"""Causality, losses and schedule of the neural quantizer."""

import itertools

import pytest
import torch
from torch import nn

from calm.config.models import QuantizerConfig
from calm.models.layers import Cache
from calm.models.quantizer import NeuralQuantizer, pearson

WINDOWS, WINDOW = 6, 4
WEIGHTS = sorted(name for name in QuantizerConfig.model_fields if name.startswith("weight_"))
PARTS = {
    "encode": lambda model, traces: model.encode(traces),
    "codes": lambda model, traces: model(traces).codes.T,
    "decode": lambda model, traces: model.decode(model.encode(traces)).unflatten(1, (-1, WINDOW)).transpose(0, 1),
    "reconstruct": lambda model, traces: model(traces).reconstruction.unflatten(1, (-1, WINDOW)).transpose(0, 1),
    "predict": lambda model, traces: model.predictor(model.encode(traces)).transpose(0, 1),
}


@pytest.fixture
def traces():
    torch.manual_seed(3)
    return torch.randn(12, WINDOWS * WINDOW)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("frame", range(1, WINDOWS * WINDOW))
def test_later_frames_do_not_reach_earlier_tokens(quantizer, traces, part, frame):
    changed, whole = traces.clone(), frame // WINDOW
    changed[:, frame:] = 5 * torch.randn_like(changed[:, frame:])
    before, after = (PARTS[part](quantizer, trace) for trace in (traces, changed))
    assert torch.equal(before[:whole], after[:whole])
    assert not torch.equal(before[whole:], after[whole:])


def test_rows_do_not_reach_each_other(quantizer, traces):
    changed = traces.clone()
    changed[5] += 1
    before, after = quantizer(traces), quantizer(changed)
    others = [row for row in range(12) if row != 5]
    assert torch.equal(before.reconstruction[others], after.reconstruction[others])
    assert not torch.equal(before.reconstruction[5], after.reconstruction[5])


def test_reconstruction_is_that_of_the_codes(quantizer, traces):
    output = quantizer(traces)
    assert len(output.codes.unique()) > 1
    torch.testing.assert_close(output.reconstruction, quantizer.decode_codes(output.codes))


@pytest.mark.parametrize("first", [1, 4])
def test_decoding_in_pieces_with_caches_is_decoding_at_once(quantizer, traces, first):
    vectors = quantizer.double().codebook.vectors[quantizer.encode_codes(traces.double())].transpose(0, 1)
    caches = [Cache() for _ in quantizer.decoder]
    pieces = [quantizer.decode(piece, caches) for piece in (vectors[:first], vectors[first:])]
    torch.testing.assert_close(torch.cat(pieces, dim=1), quantizer.decode(vectors), rtol=0, atol=1e-10)


def test_encoder_gets_the_gradient_of_the_decoder_and_codes_get_none(quantizer, traces):
    quantizer.double()
    output = quantizer(traces.double())
    output.latent.retain_grad()
    direction = torch.randn_like(output.reconstruction)
    (output.reconstruction * direction).sum().backward()
    vectors = quantizer.codebook.vectors[output.codes.T].detach().requires_grad_()
    (quantizer.decode(vectors) * direction).sum().backward()
    torch.testing.assert_close(output.latent.grad, vectors.grad, atol=1e-10, rtol=1e-8)
    assert quantizer.codebook.vectors.grad is None and output.latent.grad.any()


def test_before_the_codebook_starts_there_is_reconstruction_only(fresh_quantizer, traces):
    terms = fresh_quantizer.training_loss(traces)
    assert set(terms) == {"loss", "mse", "pearson"}
    assert torch.equal(fresh_quantizer(traces).reconstruction, fresh_quantizer.decode(fresh_quantizer.encode(traces)))
    before = fresh_quantizer.codebook.vectors.detach().clone()
    terms["loss"].backward()
    fresh_quantizer.after_step()
    assert fresh_quantizer.codebook.vectors.grad is None and torch.equal(fresh_quantizer.codebook.vectors, before)


def losses_with(model, traces, **weights):
    """Terms of the loss under other weights and equal noise."""
    model.config = model.codebook.config = QuantizerConfig(**{**model.config.model_dump(), **weights})
    torch.manual_seed(0)
    return model.training_loss(traces.double())


@pytest.mark.parametrize("weight", WEIGHTS)
def test_weight_zero_removes_exactly_its_term(quantizer, traces, weight):
    quantizer.double()
    once, zero = losses_with(quantizer, traces, **{weight: 1.0}), losses_with(quantizer, traces, **{weight: 0.0})
    term = once[weight.removeprefix("weight_")]
    assert term != 0
    torch.testing.assert_close(once["loss"] - zero["loss"], term, atol=1e-10, rtol=0)


def test_loss_is_the_reconstruction_when_every_weight_is_zero(quantizer, traces):
    terms = losses_with(quantizer.double(), traces, **dict.fromkeys(WEIGHTS, 0.0))
    assert set(terms) == {"loss", "mse"} | {weight.removeprefix("weight_") for weight in WEIGHTS}
    torch.testing.assert_close(terms["loss"], terms["mse"])


def test_reconstruction_terms_are_those_of_a_literal_loop(quantizer, traces):
    quantizer.double()
    terms, output = losses_with(quantizer, traces), quantizer(traces.double())
    correlations = [
        torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(output.reconstruction, traces.double(), strict=True)
    ]
    torch.testing.assert_close(terms["mse"], (output.reconstruction - traces.double()).square().mean())
    torch.testing.assert_close(terms["pearson"], 1 - torch.stack(correlations).mean())


def test_correlation_with_a_constant_is_zero():
    assert pearson(torch.ones(1, 9), torch.randn(1, 9)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("horizons", [1, 3, 4, WINDOWS + 3])
def test_head_is_compared_with_the_code_as_many_tokens_ahead(quantizer_config, traces, smoothing, horizons):
    torch.manual_seed(0)
    config = quantizer_config.changed(horizons=horizons, label_smoothing=smoothing)
    quantizer = NeuralQuantizer(config).double()
    nn.init.normal_(quantizer.predictor.horizon)
    latent = quantizer.encode(traces.double())
    codes = torch.randint(config.codes, latent.shape[:2])
    log_p = quantizer.predictor(latent).log_softmax(-1)
    means = []
    for horizon in range(1, min(horizons, WINDOWS - 1) + 1):
        errors = [
            -(1 - smoothing) * log_p[horizon - 1, token, row, codes[token + horizon, row]]
            - smoothing * log_p[horizon - 1, token, row].mean()
            for token in range(WINDOWS - horizon)
            for row in range(len(traces))
        ]
        means.append(torch.stack(errors).mean())
    torch.testing.assert_close(quantizer.prediction_losses(latent, codes)["ar"], torch.stack(means).mean())


def test_alignment_compares_the_first_horizon_with_the_soft_assignment_of_the_next_token(quantizer, traces):
    latent = quantizer.encode(traces)
    codes, vectors = quantizer.codebook.nearest(latent), quantizer.codebook.vectors
    log_p = quantizer.predictor(latent).log_softmax(-1)
    errors = []
    for token in range(WINDOWS - 1):
        for row in range(len(traces)):
            distance = (latent[token + 1, row] - vectors).square().sum(-1)
            soft = (-distance / vectors.shape[1] ** 0.5).softmax(-1)
            errors.append(-(soft * log_p[0, token, row]).sum())
    torch.testing.assert_close(quantizer.prediction_losses(latent, codes)["align"], torch.stack(errors).mean())


def test_alignment_teaches_the_head_not_the_codes(quantizer, traces):
    latent = quantizer.encode(traces)
    quantizer.prediction_losses(latent, quantizer.codebook.nearest(latent))["align"].backward()
    assert quantizer.codebook.vectors.grad is None and quantizer.predictor.logits.weight.grad.any()


def test_every_parameter_is_trained(quantizer, traces):
    quantizer.training_loss(traces)["loss"].backward()
    assert [name for name, parameter in quantizer.named_parameters() if parameter.grad is None] == []


def test_temperature_falls_geometrically_and_then_stays(quantizer):
    start, end = quantizer.config.temperature
    temperatures = []
    for step in range(20):
        quantizer.before_step(step, 20)
        temperatures.append(quantizer.temperature)
    falling = int(quantizer.config.anneal * 20)
    assert temperatures[0] == start and temperatures[falling:] == pytest.approx([end] * (20 - falling))
    ratios = [after / before for before, after in itertools.pairwise(temperatures[: falling + 1])]
    assert ratios == pytest.approx([(end / start) ** (1 / falling)] * falling)


def test_codebook_starts_once_after_the_warmup_and_is_revived_on_schedule(fresh_quantizer, traces, monkeypatch):
    calls = []
    fresh_quantizer.config = fresh_quantizer.config.changed(warmup=1 / 7, revive_every=2 / 7)
    fresh_quantizer.training_loss(traces)
    fresh_quantizer.after_step()
    start = fresh_quantizer.codebook.start
    monkeypatch.setattr(fresh_quantizer.codebook, "start", lambda seed: calls.append("start") or start(seed))
    monkeypatch.setattr(fresh_quantizer.codebook, "revive", lambda: calls.append("revive"))
    done = []
    for step in range(7):
        calls.clear()
        fresh_quantizer.before_step(step, 7)
        done.append("".join(calls))
    assert done == ["", "start", "", "revive", "", "revive", ""]  # a warm-up of one step, a revival every two


def test_codes_follow_the_latents_of_each_step_once_started(quantizer, traces):
    quantizer.codebook.vectors.data[0] = 1e3  # out of reach
    quantizer.training_loss(traces)
    codes = quantizer(traces).codes.flatten()
    before = quantizer.codebook.vectors.detach().clone()
    quantizer.after_step()
    used = torch.bincount(codes, minlength=len(before)) > 0
    moved = (quantizer.codebook.vectors != before).any(-1)
    assert used.any() and not used.all() and torch.equal(moved, used)


def test_short_training_lowers_the_loss(fresh_quantizer, traces):
    optimizer, losses = torch.optim.Adam(fresh_quantizer.parameters(), lr=1e-2), []
    for step in range(40):
        fresh_quantizer.before_step(step, 40)
        terms = fresh_quantizer.training_loss(traces)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        fresh_quantizer.after_step()
        losses.append(terms["mse"].item())
    assert losses[-1] < 0.8 * losses[0]
