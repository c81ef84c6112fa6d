"""The codebook against hand-computed cases, the classical EMA and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.config.models import QuantizerConfig
from calm.errors import CalmError
from calm.models.codebook import Codebook


def make_codebook(vectors, **changes):
    """A started codebook with the given codes."""
    vectors = torch.as_tensor(vectors)
    config = QuantizerConfig(codes=len(vectors), **{"queue": 50, **changes})
    config = config.model_copy(update={"width": vectors.shape[1]})  # any width: there are no heads here to share it
    codebook = Codebook(config).to(vectors.dtype)
    codebook.vectors.data.copy_(vectors)
    codebook.started.fill_(True)
    return codebook


def observe(codebook, latent):
    """Show the codebook one step of latents, a row each."""
    latent = latent[None]
    codebook.remember(latent, codebook.nearest(latent))


def test_nearest_code_is_that_of_smallest_distance():
    codebook, latent = make_codebook(torch.randn(6, 4)), torch.randn(5, 7, 4)
    distances = (latent[..., None, :] - codebook.vectors).square().sum(-1)
    torch.testing.assert_close(codebook.distances(latent), distances)
    assert torch.equal(codebook.nearest(latent), distances.argmin(-1))


def test_update_of_two_codes_by_hand():
    codebook = make_codebook([[0.0, 0.0], [10.0, 0.0]], ema_decay=0.9)
    codebook.usage.copy_(torch.tensor([2.0, 4.0]))
    observe(codebook, torch.tensor([[1.0, 0.0], [3.0, 1.0], [2.0, 2.0]]))  # all three are nearest to code 0
    codebook.update()
    # Code 0: N = 0.9 * 2 + 0.1 * 3 = 2.1 and the sum is 0.9 * 2 * (0, 0) + 0.1 * (6, 3). Code 1: N = 3.6, code unmoved.
    torch.testing.assert_close(codebook.usage, torch.tensor([2.1, 3.6]))
    torch.testing.assert_close(codebook.vectors.data, torch.tensor([[0.6 / 2.1, 0.3 / 2.1], [10.0, 0.0]]))


@given(st.floats(0.5, 0.999), st.integers(0, 2**31 - 1), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_update_is_the_classical_average_of_sums_and_counts(decay, seed, steps):
    torch.manual_seed(seed)
    codebook = make_codebook(torch.randn(4, 3, dtype=torch.float64), ema_decay=decay)
    counts, sums = codebook.usage.clone(), codebook.vectors.data * codebook.usage[:, None]
    for _ in range(steps):
        latent = torch.randn(10, 3, dtype=torch.float64)
        one_hot = torch.eye(4, dtype=torch.float64)[codebook.nearest(latent)]
        observe(codebook, latent)
        codebook.update()
        counts = decay * counts + (1 - decay) * one_hot.sum(0)
        sums = decay * sums + (1 - decay) * one_hot.T @ latent
        torch.testing.assert_close(codebook.usage, counts)
        torch.testing.assert_close(codebook.vectors.data, sums / counts[:, None])


def test_update_keeps_gradient_steps():
    latent = torch.randn(20, 3)
    plain, nudged = (make_codebook(torch.eye(4, 3), ema_decay=0.9) for _ in range(2))
    observe(plain, latent)
    nudged._latest = list(plain._latest)  # the same assignment in both
    used = (plain._latest[0][1] == 0).sum()
    nudged.vectors.data[0] += 1e-3
    plain.update()
    nudged.update()
    kept = 1 - used * 0.1 / plain.usage[0]
    torch.testing.assert_close(nudged.vectors[0] - plain.vectors[0], kept * torch.full((3,), 1e-3), atol=1e-6, rtol=0)


def test_codes_that_go_unused_for_ever_stay_where_they_are():
    codebook = make_codebook([[0.0], [100.0]], ema_decay=0.5)
    for _ in range(400):
        observe(codebook, torch.ones(1, 1))
        codebook.update()
    assert codebook.vectors[1] == 100 and codebook.usage[1] < 1e-30
    torch.testing.assert_close(codebook.vectors[0].data, torch.ones(1))


def test_revival_by_hand():
    codebook = make_codebook([[0.0], [1.0], [2.0], [3.0]], revive_below=0.2, queue=50)
    codebook.queue[:3] = torch.tensor([[70.0], [80.0], [90.0]])
    codebook.queued.fill_(3)
    codebook.usage.copy_(torch.tensor([10.0, 1.1, 0.0, 8.9]))  # mean 5, threshold 1
    codebook.revive()
    assert codebook.vectors[[0, 1, 3], 0].tolist() == [0.0, 1.0, 3.0]
    assert codebook.vectors[2, 0].item() in (70.0, 80.0, 90.0)
    torch.testing.assert_close(codebook.usage, torch.tensor([10.0, 1.1, 5.0, 8.9]))


def test_dead_codes_are_revived_at_different_places():
    codebook = make_codebook(torch.zeros(30, 2))
    codebook.usage.zero_()[0] = 1
    for _ in range(10):
        codebook.enqueue(torch.randn(5, 2))
    codebook.revive()
    assert not codebook.vectors[0].any()
    assert len(codebook.vectors[1:].unique(dim=0)) > 15
    assert torch.isclose(codebook.vectors[1:, None], codebook.recent()[None]).all(-1).any(1).all()


@pytest.mark.parametrize("steps", [1, 3, 8, 25])
def test_queue_holds_the_most_recent_sample(steps):
    codebook = make_codebook([[0.0]], queue=40)  # takes four latents a step
    for step in range(steps):
        observe(codebook, torch.arange(10.0)[:, None] + 100 * step)
        codebook.update()
    recent, kept = codebook.recent().flatten(), min(steps, 10)
    assert len(recent) == len(recent.unique()) == 4 * kept
    assert (recent // 100).unique().tolist() == list(range(steps - kept, steps))


def test_queue_takes_no_gradient_with_it():
    codebook = make_codebook(torch.eye(3))
    observe(codebook, torch.randn(9, 3))
    codebook.update()
    assert not codebook.queue.requires_grad and not codebook.recent().requires_grad


def test_start_puts_one_code_on_each_cluster():
    codebook = make_codebook(torch.zeros(4, 2), queue=400)
    codebook.started.fill_(False)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    for _ in range(10):
        observe(codebook, (centres + 0.01 * torch.randn(10, 4, 2)).flatten(0, 1))
        codebook.update()
    codebook.start(seed=0)
    nearest = torch.cdist(centres, codebook.vectors.data)
    assert nearest.min(dim=1).values.max() < 0.02
    assert sorted(nearest.argmin(dim=1).tolist()) == [0, 1, 2, 3]
    assert codebook.started and (codebook.usage == 10).all()  # 40 latents a step over 4 codes


def test_start_follows_from_the_seed():
    first, second = (make_codebook(torch.zeros(6, 2)) for _ in range(2))
    latent = torch.randn(40, 2)
    for codebook in (first, second):
        codebook.queue[:40] = latent
        codebook.queued.fill_(40)
        codebook.start(seed=7)
    assert torch.equal(first.vectors, second.vectors)


def test_too_few_windows_for_the_codes_are_refused():
    codebook = make_codebook(torch.zeros(6, 2))
    observe(codebook, torch.randn(5, 2))
    codebook.update()
    with pytest.raises(CalmError, match=r"5 windows .* too few for 6 codes"):
        codebook.start(seed=0)


@pytest.mark.parametrize("codes", [2, 5, 128])
def test_entropy_term_of_a_uniform_assignment_is_minus_log_k(codes):
    codebook = make_codebook(torch.ones(codes, 3, dtype=torch.float64))
    latent = torch.randn(50, 40, 3, dtype=torch.float64)
    terms = codebook.losses(latent, codebook.nearest(latent), temperature=1e6)
    assert terms["entropy"].item() == pytest.approx(-math.log(codes), abs=1e-5)


def test_entropy_term_of_a_single_code_is_zero():
    codebook = make_codebook(torch.tensor([[0.0], [1e4], [-1e4]]))
    latent = torch.randn(50, 40, 1)
    terms = codebook.losses(latent, codebook.nearest(latent), temperature=0.01)
    assert terms["entropy"].item() == pytest.approx(0, abs=1e-6)


def test_entropy_term_is_that_of_the_mean_not_the_mean_of_entropies():
    codebook = make_codebook(torch.tensor([[-1e4], [1e4]]))
    latent = torch.tensor([-1e4, 1e4]).repeat(10)[:, None, None]
    terms = codebook.losses(latent, codebook.nearest(latent), temperature=0.01)
    assert terms["entropy"].item() == pytest.approx(-math.log(2))


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_orthogonality_term_is_zero_for_orthogonal_codes_of_any_length(scale):
    codebook, latent = make_codebook(scale * torch.linalg.qr(torch.randn(4, 4)).Q), torch.randn(3, 2, 4)
    terms = codebook.losses(latent, codebook.nearest(latent), temperature=1.0)
    assert terms["orthogonality"].item() == pytest.approx(0, abs=1e-9)


def test_orthogonality_term_of_equal_codes_counts_every_pair():
    codebook, latent = make_codebook(torch.ones(4, 3)), torch.randn(3, 2, 3)
    terms = codebook.losses(latent, codebook.nearest(latent), temperature=1.0)
    assert terms["orthogonality"].item() == pytest.approx(4 * 3)


@pytest.mark.parametrize(("term", "moves_codes"), [("embed", True), ("commit", False)])
def test_embedding_moves_codes_and_commitment_moves_latents(term, moves_codes):
    codebook, latent = make_codebook(torch.randn(4, 3)), torch.randn(6, 2, 3, requires_grad=True)
    codes = codebook.nearest(latent)
    value = codebook.losses(latent, codes, temperature=1.0)[term]
    value.backward()
    difference = latent.detach() - codebook.vectors.data[codes]
    assert value.item() == pytest.approx(difference.square().mean().item())
    assert (codebook.vectors.grad is not None, latent.grad is not None) == (moves_codes, not moves_codes)


def test_every_term_has_a_finite_gradient_when_codes_go_unused():
    codebook, latent = make_codebook(torch.tensor([[0.0], [1e4]])), torch.randn(20, 1, 1, requires_grad=True)
    sum(codebook.losses(latent, codebook.nearest(latent), temperature=0.01).values()).backward()
    assert torch.isfinite(codebook.vectors.grad).all() and torch.isfinite(latent.grad).all()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_start_and_gradient_are_the_same_in_every_run_on_two_threads(two_threads):
    config = QuantizerConfig(width=64, codes=128)
    latent = torch.randn(40, 50, 64)

    def run():
        torch.manual_seed(0)
        codebook = Codebook(config)
        for _ in range(5):
            codebook.remember(latent, torch.zeros(40, 50, dtype=torch.long))
            codebook.update()
        codebook.start(seed=0)
        sum(codebook.losses(latent, codebook.nearest(latent), 1.0).values()).backward()
        return torch.cat([codebook.vectors.detach(), codebook.vectors.grad])

    first = run()
    assert all(torch.equal(run(), first) for _ in range(5))
