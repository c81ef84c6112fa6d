"""Causality, equivariance, objective and cached rollout of the dual-axis transformer."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from calm.config.fitting import FitConfig
from calm.config.models import DATConfig
from calm.models.layers import Cache
from calm.models.rollout import roll_out
from calm.models.transformer import DualAxisTransformer, TokenBatch, nearest_codes
from calm.training.fit import make_optimizer

TOKENS = 9


def configure(model, **changes):
    """The model under a changed config."""
    model.config = DATConfig(**{**model.config.model_dump(), **changes})
    return model


def change_tokens(batch, where, codes=6):
    """The batch with every token at `where` replaced by another one."""
    tokens = batch.tokens.clone()
    tokens[where] = (tokens[where] + torch.randint(1, codes, tokens[where].shape)) % codes
    return dataclasses.replace(batch, tokens=tokens)


@pytest.mark.parametrize("token", range(1, TOKENS))
def test_later_tokens_do_not_reach_earlier_logits(dat, batch, token):
    before, after = dat(batch), dat(change_tokens(batch, (..., slice(token, None))))
    assert torch.equal(before[:token], after[:token])
    assert not torch.equal(before[token], after[token])


def test_permuting_neurons_with_their_indices_permutes_the_logits(dat, batch):
    dat.double()
    order = torch.randperm(len(batch.neurons))
    permuted = TokenBatch(batch.session, batch.neurons[order], batch.tokens[:, order])
    assert (dat(permuted) - dat(batch)[:, :, order]).abs().max() < 1e-12


def test_neurons_are_told_apart_by_their_indices(dat, batch):
    moved = dataclasses.replace(batch, neurons=batch.neurons.roll(1))
    assert not torch.allclose(dat(moved), dat(batch), atol=1e-3)


def test_the_past_of_one_neuron_reaches_all_the_others(dat, batch):
    changed = change_tokens(batch, (slice(None), 0, 2))
    differs = (dat(changed) != dat(batch)).any(-1)
    assert differs[2:].all() and not differs[:2].any()


def test_trials_of_a_batch_do_not_reach_each_other(dat, batch):
    before, after = dat(batch), dat(change_tokens(batch, (0,)))
    assert torch.equal(before[:, 1], after[:, 1]) and not torch.equal(before[:, 0], after[:, 0])


def test_a_subset_of_neurons_takes_their_own_embeddings(dat, batch):
    some = torch.tensor([4, 1])
    subset = TokenBatch(batch.session, some, batch.tokens[:, some])
    assert torch.equal(dat.embed(subset), dat.embed(batch)[:, :, some])


@pytest.mark.parametrize("corruption", ["input", "losses"])
def test_a_step_on_one_session_leaves_the_embeddings_of_the_others(dat, batch, corruption):
    dat = configure(dat, corruption=corruption)
    optimizer = make_optimizer(dat, FitConfig(steps=1, weight_decay=0.1))
    before = {name: parameter.detach().clone() for name, parameter in dat.named_parameters()}
    dat.training_loss(batch)["loss"].backward()
    optimizer.step()
    own, other = dat.index["uneven"], dat.index["other"]
    for name, parameter in dat.named_parameters():
        foreign = name in (f"neuron_embeddings.{other}", f"session_embeddings.{other}")
        assert (parameter.grad is None) == foreign
        assert torch.equal(parameter, before[name]) == foreign
    assert dat.session_embeddings[own].grad.any() and dat.neuron_embeddings[own].grad.any()


def test_an_added_session_leaves_the_logits_of_the_others(dat, batch):
    before = dat(batch)
    dat.add_session("new", 4)
    new = TokenBatch("new", torch.arange(4), batch.tokens[:, :4])
    assert torch.equal(dat(batch), before) and dat(new).shape == (TOKENS, 2, 4, 6)


def test_cross_entropy_compares_each_logit_with_the_next_clean_token(dat, batch):
    corrupted, errors = change_tokens(batch, (..., slice(3, 5))), []
    targets = torch.randint(6, batch.tokens.shape)
    log_p = dat(corrupted).log_softmax(-1)
    for trial, neuron, token in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(TOKENS - 1)):
        errors.append(-log_p[token, trial, neuron, targets[trial, neuron, token + 1]])
    torch.testing.assert_close(dat.next_token_loss(corrupted, targets), torch.stack(errors).mean())


def test_the_squared_error_of_the_expected_code_is_added_by_weight(dat, batch, quantizer):
    vectors = quantizer.codebook.vectors.detach()
    plain, spread = dat.next_token_loss(batch, batch.tokens), (vectors - vectors.mean(0)).square().sum(-1).mean()
    configure(dat, weight_expected=3.0)
    predicted, errors = dat(batch).softmax(-1), []
    for trial, neuron, token in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(TOKENS - 1)):
        expected = sum(share * code for share, code in zip(predicted[token, trial, neuron], vectors, strict=True))
        errors.append((expected - vectors[batch.tokens[trial, neuron, token + 1]]).square().sum())
    total = plain + 3 * torch.stack(errors).mean() / spread
    torch.testing.assert_close(dat.next_token_loss(batch, batch.tokens), total)


@pytest.mark.parametrize("block", [1, 3, TOKENS - 1, TOKENS + 5])
def test_scheduled_sampling_feeds_one_block_of_predictions_back(dat, block):
    configure(dat, block=block)
    tokens, starts = torch.zeros(2, 5, TOKENS, dtype=torch.long), set()
    logits = torch.randn(TOKENS, 2, 5, 6)
    logits[..., 0] = -10  # so that every prediction differs from every input
    length = min(block, TOKENS - 1)
    for _ in range(60):
        mixed = dat.feed_back(tokens, logits)
        fed = mixed != tokens
        assert torch.equal(fed, fed[:1, :1].expand_as(fed))
        where = fed[0, 0].nonzero().flatten().tolist()
        assert where == list(range(where[0], where[0] + length)) and where[0] > 0
        for token in where:
            assert torch.equal(mixed[..., token], logits[token - 1].argmax(-1))
        starts.add(where[0])
    assert starts == set(range(1, TOKENS - length + 1)) and not tokens.any()


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.6, 1.0])
def test_replacement_takes_near_codes_at_its_rate(dat, probability):
    configure(dat, replacement=probability)
    tokens = torch.randint(6, (40, 50, 10))
    before = tokens.clone()
    replaced = dat.replace_neighbours(tokens)
    changed = replaced != tokens
    tolerance = 4 * (probability * (1 - probability) / tokens.numel()) ** 0.5
    assert changed.float().mean().item() == pytest.approx(probability, abs=tolerance + 1e-6)
    allowed = (dat.neighbours[tokens[changed]] == replaced[changed][:, None]).any(-1)
    assert allowed.all() and torch.equal(tokens, before)


def test_every_neighbour_is_taken_equally_often(dat):
    configure(dat, replacement=1.0)
    replaced = dat.replace_neighbours(torch.full((30, 50, 20), 2))
    shares = torch.stack([(replaced == code).float().mean() for code in dat.neighbours[2]])
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=4 * (2 / 9 / 30_000) ** 0.5, rtol=0)


@pytest.mark.parametrize("codes", [40, 6])
def test_neighbours_are_the_nearest_other_codes_by_cosine(codes):
    vectors = torch.randn(codes, 5) * torch.logspace(-2, 2, codes)[:, None]
    neighbours, count = nearest_codes(vectors, 12), min(12, codes - 1)
    assert neighbours.shape == (codes, count)
    for code in range(codes):
        cosine = F.cosine_similarity(vectors[code], vectors, dim=-1)
        expected = [other for other in cosine.argsort(descending=True).tolist() if other != code][:count]
        assert sorted(neighbours[code].tolist()) == sorted(expected)


@pytest.mark.parametrize("coin", [0.0, 1.0])
def test_corrupted_input_is_compared_with_the_clean_targets(dat, batch, coin, monkeypatch):
    configure(dat, scheduled_sampling=coin)
    sampled, replaced = (change_tokens(batch, (..., where)).tokens for where in (3, 6))
    seen = []
    monkeypatch.setattr(dat, "feed_back", lambda tokens, logits: seen.append(tokens) or sampled)
    monkeypatch.setattr(dat, "replace_neighbours", lambda tokens: seen.append(tokens) or replaced)
    loss = dat.corrupted_input_loss(batch)["loss"]
    expected = dat.next_token_loss(dataclasses.replace(batch, tokens=replaced), batch.tokens)
    assert torch.equal(loss, expected)
    assert [torch.equal(tokens, sampled) for tokens in seen] == ([False, True] if coin else [False])


def test_share_of_steps_with_scheduled_sampling_is_that_of_the_config(dat, batch, monkeypatch):
    configure(dat, scheduled_sampling=0.6)
    calls = []
    monkeypatch.setattr(dat, "feed_back", lambda tokens, logits: calls.append(1) or tokens)
    monkeypatch.setattr(dat, "forward", lambda inputs: torch.zeros(TOKENS, 2, 5, 6))
    for _ in range(400):
        dat.corrupted_input_loss(batch)
    assert len(calls) / 400 == pytest.approx(0.6, abs=4 * (0.24 / 400) ** 0.5)


def test_without_corruption_the_loss_is_the_plain_cross_entropy(dat, batch):
    configure(dat, scheduled_sampling=0.0, replacement=0.0)
    assert torch.equal(dat.corrupted_input_loss(batch)["loss"], dat.next_token_loss(batch, batch.tokens))


@pytest.mark.parametrize(("sampling", "replacement"), [(0.0, 0.0), (0.5, 2.0), (1.0, 0.0)])
def test_three_losses_add_up_by_weight(dat, batch, sampling, replacement, monkeypatch):
    configure(dat, corruption="losses", scheduled_sampling=1.0)
    configure(dat, weight_sampling=sampling, weight_replacement=replacement)
    mixed = [change_tokens(batch, (..., where)).tokens for where in (3, 6)]
    monkeypatch.setattr(dat, "feed_back", lambda tokens, logits: mixed[0])
    monkeypatch.setattr(dat, "replace_neighbours", lambda tokens: mixed[1])
    terms = dat.training_loss(batch)
    inputs = [dataclasses.replace(batch, tokens=tokens) for tokens in (batch.tokens, *mixed)]
    clean, *parts = [dat.next_token_loss(given, batch.tokens) for given in inputs]
    torch.testing.assert_close([terms[name] for name in ("clean", "sampling", "replacement")], [clean, *parts])
    torch.testing.assert_close(terms["loss"], clean + sampling * parts[0] + replacement * parts[1])


def test_clean_pass_of_the_three_losses_provides_the_predictions_without_gradient(dat, batch, monkeypatch):
    configure(dat, scheduled_sampling=1.0)
    given, feed_back = [], dat.feed_back
    monkeypatch.setattr(dat, "feed_back", lambda tokens, logits: given.append(logits) or feed_back(tokens, logits))
    dat.three_losses(batch)
    assert torch.equal(given[0], dat(batch)) and not given[0].requires_grad


@pytest.mark.parametrize("probability", [0.0, 0.6, 1.0])
def test_three_losses_feed_predictions_back_with_the_probability_of_the_config(dat, batch, probability, monkeypatch):
    configure(dat, corruption="losses", scheduled_sampling=probability, replacement=0.0, weight_sampling=0.5)
    other = change_tokens(batch, (..., 3)).tokens
    monkeypatch.setattr(dat, "feed_back", lambda tokens, logits: other)
    with torch.no_grad():
        clean = dat.next_token_loss(batch, batch.tokens)
        sampled = dat.next_token_loss(dataclasses.replace(batch, tokens=other), batch.tokens)
        steps = [dat.training_loss(batch) for _ in range(300 if probability == 0.6 else 10)]
    fed = [not torch.isclose(terms["sampling"], clean) for terms in steps]
    assert sum(fed) / len(fed) == pytest.approx(probability, abs=4 * (0.24 / len(fed)) ** 0.5 * (probability == 0.6))
    for terms, was_fed in zip(steps, fed, strict=True):
        torch.testing.assert_close(terms["sampling"], sampled if was_fed else clean)
        torch.testing.assert_close(terms["loss"], clean + 0.5 * terms["sampling"] + terms["replacement"])
        torch.testing.assert_close(terms["replacement"], clean)  # with probability 0 nothing is replaced


@pytest.mark.parametrize("corruption", ["input", "losses"])
def test_short_training_lowers_the_loss(dat, batch, corruption):
    configure(dat, corruption=corruption).train()
    optimizer, losses = torch.optim.Adam(dat.parameters(), lr=1e-2), []
    for _ in range(60):
        loss = dat.training_loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def one_hot(batch):
    """The batch with its tokens as weights over the codes."""
    return dataclasses.replace(batch, tokens=F.one_hot(batch.tokens, 6).double())


def test_certain_weights_over_codes_are_tokens(dat, batch):
    dat.double()
    assert (dat(one_hot(batch)) - dat(batch)).abs().max() < 1e-12


@pytest.mark.parametrize("choice", ["greedy", "expected", "sample"])
@pytest.mark.parametrize("samples", [1, 3])
def test_cached_rollout_is_the_full_one(dat, batch, samples, choice):
    dat.double()
    cached = []
    hook = dat.register_forward_hook(lambda model, inputs, logits: cached.append(logits[-1]))
    rolled = roll_out(dat, batch, steps=6, samples=samples, choice=choice)
    hook.remove()
    for sample in range(samples):
        given = one_hot(batch)
        for step in range(6):
            full = dat(given)[-1]
            copies = cached[step] if step == 0 else cached[step][sample::samples]  # the context is computed once
            assert (copies - full).abs().max() < 1e-12
            assert (rolled.predicted[sample, ..., step, :] - full.softmax(-1)).abs().max() < 1e-12
            if choice == "greedy":
                assert torch.equal(rolled.chosen[sample, ..., step, :].argmax(-1), full.argmax(-1))
            newest = rolled.chosen[sample, ..., [step], :]
            given = dataclasses.replace(given, tokens=torch.cat([given.tokens, newest], dim=2))


def roll_out_uncached(model, batch, steps):
    """The expected rollout, each step from the whole past."""
    given = one_hot(batch)
    for _ in range(steps):
        newest = model(given)[-1].softmax(-1)
        given = dataclasses.replace(given, tokens=torch.cat([given.tokens, newest.unsqueeze(2)], dim=2))
    return given.tokens[:, :, -steps:]


def test_the_gradient_of_a_rollout_is_the_one_without_caches(dat, batch):
    dat.double()
    weights, gradients = torch.randn(2, 5, 4, 6).double(), []
    for rolled in (roll_out(dat, batch, steps=4, choice="expected").chosen[0], roll_out_uncached(dat, batch, 4)):
        gradients.append(torch.autograd.grad((rolled * weights).sum(), list(dat.parameters()), allow_unused=True))
    used = [(one, other) for one, other in zip(*gradients, strict=True) if other is not None]
    assert len(used) == len(list(dat.parameters())) - 2  # the embeddings of the other session
    for cached, full in used:
        assert full.abs().max() > 1e-6 and (cached - full).abs().max() < 1e-12


def test_a_rollout_is_the_same_with_and_without_gradient(dat, batch):
    with torch.no_grad():
        without = roll_out(dat, batch, steps=4, choice="expected").chosen
    assert torch.equal(roll_out(dat, batch, steps=4, choice="expected").chosen, without)


@pytest.mark.parametrize(("choice", "certain"), [("greedy", True), ("sample", True), ("expected", False)])
def test_chosen_are_single_codes_or_the_whole_distribution(dat, batch, choice, certain):
    rolled = roll_out(dat, batch, steps=4, choice=choice)
    if certain:
        assert set(rolled.chosen.unique().tolist()) == {0, 1}
        torch.testing.assert_close(rolled.chosen.sum(-1), torch.ones(1, 2, 5, 4))
    else:
        assert torch.equal(rolled.chosen, rolled.predicted)


@pytest.mark.parametrize("choice", ["greedy", "expected"])
def test_without_sampling_all_samples_are_the_same(dat, batch, choice):
    dat.double()
    chosen = roll_out(dat, batch, steps=4, choice=choice, samples=3).chosen
    torch.testing.assert_close(chosen, chosen[:1].expand_as(chosen), atol=1e-12, rtol=0)


@pytest.mark.parametrize("piece", [1, 2, 5])
def test_logits_in_pieces_with_caches_are_those_at_once(dat, batch, piece):
    dat.double()
    caches = [Cache() for _ in dat.layers]
    pieces = [dat(dataclasses.replace(batch, tokens=tokens), caches) for tokens in batch.tokens.split(piece, dim=-1)]
    assert (torch.cat(pieces) - dat(batch)).abs().max() < 1e-12


def test_sampled_rollouts_differ_between_samples_and_trials_and_follow_the_seed(dat, batch):
    same, rolled = dataclasses.replace(batch, tokens=batch.tokens[:1].expand(2, -1, -1)), []
    for _ in range(2):
        torch.manual_seed(5)
        rolled.append(roll_out(dat, same, steps=6, choice="sample", samples=4).chosen.argmax(-1))
    assert torch.equal(*rolled) and rolled[0].shape == (4, 2, 5, 6)
    assert len({rollout.numpy().tobytes() for rollout in rolled[0].flatten(0, 1)}) == 8


def test_sampled_tokens_have_the_probabilities_of_the_logits(dat, batch):
    one = dataclasses.replace(batch, tokens=batch.tokens[:1])
    probability = dat(one)[-1, 0].softmax(-1)
    shares = roll_out(dat, one, steps=1, choice="sample", samples=4000).chosen[:, 0, :, 0].mean(0)
    assert ((shares - probability).abs() <= 5 * (probability * (1 - probability) / 4000).sqrt() + 1e-3).all()


def test_samples_are_continuations_of_their_own_trial(dat, batch):
    both = roll_out(dat, batch, steps=3, samples=3).chosen
    for trial in range(2):
        alone = roll_out(dat, dataclasses.replace(batch, tokens=batch.tokens[[trial]]), steps=3).chosen
        assert torch.equal(both[:, trial], alone[:, 0].expand(3, -1, -1, -1))


def test_code_table_defines_the_neighbours_for_good(dat, dat_config):
    torch.manual_seed(9)
    other = DualAxisTransformer(dat_config, torch.randn(6, 8), {"uneven": 5, "other": 3})
    assert not torch.equal(other.neighbours, dat.neighbours)
    other.load_state_dict(dat.state_dict())
    assert torch.equal(other.neighbours, dat.neighbours)


def test_neurons_begin_nearly_alike(dat_config, quantizer):
    model = DualAxisTransformer(dat_config, quantizer.codebook.vectors, {"large": 400})
    (embeddings,) = model.neuron_embeddings
    assert embeddings.std().item() == pytest.approx(dat_config.embedding_sd, rel=0.05)
