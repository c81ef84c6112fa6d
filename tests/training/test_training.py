"""The fit loop: what it trains and what it keeps."""

import contextlib
import dataclasses
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from fit_cases import EVERY, ROUNDS, STEPS, Toy, assert_same, run, stopping, toy_batch
from hypothesis import given
from hypothesis import strategies as st

from calm.config.fitting import FitConfig
from calm.devices import prepared_ahead
from calm.errors import CalmError
from calm.storage import load_checkpoint
from calm.training import fit as training
from calm.training.fit import Objective, Run, alone_in, fit, make_optimizer, schedule


def test_equal_seeds_give_equal_runs_whatever_the_callers_random_state(case, tmp_path):
    first = run(case, tmp_path / "first")
    make, task, config = case
    model = make()
    torch.manual_seed(123)
    assert_same(first, (model, fit(model, task, config, seed=0, folder=tmp_path / "second")))


def test_training_on_batches_made_ahead_is_the_same_bit_for_bit(case, tmp_path, monkeypatch):
    straight = run(case, tmp_path / "straight")
    monkeypatch.setattr(Run, "batches", lambda this, steps: prepared_ahead(this.load, steps))
    assert_same(run(case, tmp_path / "ahead"), straight)


def test_seed_matters(toy, tmp_path):
    make, task, config = toy
    first, second = make(), make()
    for seed, model in enumerate((first, second)):
        fit(model, task, config, seed=seed, folder=tmp_path / str(seed))
    assert not torch.equal(first.map.weight, second.map.weight)


def test_training_in_bf16_stays_near_that_in_full_precision(case, tmp_path):
    _, full = run(case, tmp_path / "full")
    _, half = run(case, tmp_path / "half", precision="bf16-mixed")
    np.testing.assert_allclose(half["loss"], full["loss"], rtol=0.05)


def test_finished_run_is_loaded_and_not_trained_again(case, tmp_path):
    first = run(case, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert_same(first, run(case, tmp_path, task=stopping(case[1], step=0, validation=0)))


def test_finished_model_is_ready_for_use(case, tmp_path):
    model, history = run(case, tmp_path)
    assert not any(module.training for module in model.modules())
    assert history["step"].tolist() == [EVERY, 2 * EVERY, STEPS] and history[["loss", "val"]].notna().all(axis=None)


def scripted(scores, seen):
    """A task whose validation gives these scores in turn and keeps the weights it saw."""

    def validate(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return float(scores[len(seen) - 1])

    return Objective(toy_batch, validate)


@pytest.mark.parametrize(
    ("scores", "patience", "length", "best"),
    [
        ([1, 3, 2, 1, 5, 9], 2, 4, 1),
        ([1, 3, 2, 1, 5, 4], 3, 6, 4),
        ([1, 3, 2, 1, 5, 9], 0, 6, 5),
        ([3, 3, 3, 3, 3, 3], 1, 2, 0),
        ([-5, -6, -7, -8, -4, -9], 0, 6, 4),
    ],
)
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_early_stopping_keeps_the_weights_of_the_best_validation(toy, tmp_path, scores, patience, length, best, ema):
    seen = []
    model, history = run(
        toy, tmp_path, task=scripted(scores, seen), steps=6, validate_every=1, patience=patience, weight_ema=ema
    )
    assert history["val"].tolist() == scores[:length] and len(seen) == length
    assert all(torch.equal(tensor, seen[best][name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("scores", "best"), [([3, 2, 1, 2], 0), ([3, 2, 4, 1], 2)])
def test_what_begins_trained_is_kept_unless_training_makes_it_better(toy, tmp_path, monkeypatch, scores, best):
    make, _, _ = toy
    before, seen = make().state_dict(), []
    monkeypatch.setattr(Toy, "begins_trained", True)
    model, history = run(toy, tmp_path, task=scripted(scores, seen), steps=3, validate_every=1, patience=0)
    assert history["step"].tolist() == [0, 1, 2, 3] and history["val"].tolist() == scores
    assert history["loss"].isna().tolist() == [True, False, False, False]
    assert all(torch.equal(tensor, before[name]) for name, tensor in seen[0].items())
    assert all(torch.equal(tensor, seen[best][name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("every", "validated"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (10, [5])])
def test_validation_comes_every_few_steps_and_at_the_end(toy, tmp_path, every, validated):
    _, history = run(toy, tmp_path, steps=5, validate_every=every)
    assert history["step"].tolist() == validated and history["val"].notna().all()


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_validated_weights_are_the_moving_average_of_those_after_each_step(toy, tmp_path, decay, monkeypatch):
    seen, models = [], []
    monkeypatch.setattr(training, "make_optimizer", lambda *given: models.append(given[0]) or make_optimizer(*given))
    run(toy, tmp_path, task=scripted([0.0] * ROUNDS, seen), weight_ema=decay)
    averages = [toy[0]().map.weight.detach()]
    for weights in models[0].trail:
        averages.append(decay * averages[-1] + (1 - decay) * weights)
    at_validation = averages[EVERY::EVERY]
    assert len(models[0].trail) == STEPS
    for average, state in zip(at_validation, seen, strict=True):
        torch.testing.assert_close(state["map.weight"], average, atol=0 if decay == 0 else 1e-6, rtol=0)
    assert [state["steps"].item() for state in seen] == [EVERY, 2 * EVERY, STEPS]


def test_history_holds_the_mean_of_every_term(toy, tmp_path):
    _, history = run(toy, tmp_path, learning_rate=0.0)
    model = toy[0]()
    for last, row in history.set_index("step").iterrows():
        torch.manual_seed(last - EVERY)  # as `fit` does for seed 0
        losses = []
        for step in range(last - EVERY, last):
            model.before_step(step, STEPS)
            losses.append(model.training_loss(toy_batch(step))["loss"].item())
        assert row["loss"] == pytest.approx(sum(losses) / EVERY)
        assert row["double"] == pytest.approx(2 * row["loss"])


def test_history_holds_the_gradients_norm_before_clipping(toy, tmp_path):
    _, history = run(toy, tmp_path, learning_rate=0.0, validate_every=1, steps=1, clip=1e-3)
    model = toy[0]()
    torch.manual_seed(0)  # as `fit` does for seed 0
    model.before_step(0, 1)
    model.training_loss(toy_batch(0))["loss"].backward()
    squares = sum(float(each.grad.square().sum()) for each in model.parameters() if each.grad is not None)
    assert history["gradient_norm"].tolist() == pytest.approx([squares**0.5]) and squares**0.5 > 1e-3


@dataclasses.dataclass
class NamedBatch:
    """A batch that says whose it is."""

    session: str
    values: torch.Tensor


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_explodes_stops_with_stage_step_and_session(toy, tmp_path, bad):
    make, _, config = toy

    class Named(type(make())):
        def training_loss(self, batch):
            return super().training_loss(batch.values)

        def count_predictions(self, batch):
            return len(batch.values)

    def batch(step):
        return NamedBatch(f"mouse {step}", toy_batch(step) * (bad if step == 4 else 1))

    fault = r"stage: in step 5 of 9 on a batch of session mouse 4, .* lower the fit's `learning_rate`"
    with pytest.raises(CalmError, match=fault):
        fit(Named(), Objective(batch, lambda model: 0.0), config, seed=0, folder=tmp_path / "stage")
    weights, manifest = load_checkpoint(tmp_path / "stage" / "last")
    assert manifest["step"] == 3 and all(torch.isfinite(value).all() for value in weights.values())


@given(st.floats(0.01, 0.9))
def test_schedule_rises_linearly_and_falls_along_a_cosine(warmup):
    assert schedule(0.0, warmup) == 0 and schedule(warmup, warmup) == 1
    assert schedule(warmup / 2, warmup) == pytest.approx(0.5)
    assert schedule((1 + warmup) / 2, warmup) == pytest.approx(0.5)
    assert schedule(1.0, warmup) == pytest.approx(0)
    falling = [schedule(warmup + (1 - warmup) * share / 20, warmup) for share in range(21)]
    assert falling == sorted(falling, reverse=True)


def test_without_warmup_the_rate_starts_at_its_peak():
    assert schedule(0.0, 0.0) == 1


def test_rates_follow_the_schedule_step_by_step(toy, tmp_path, monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def record(optimizer, *arguments, **options):
        rates.append([group["lr"] for group in optimizer.param_groups])
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    run(toy, tmp_path, learning_rate=0.1, warmup=0.25)
    assert len(rates) == STEPS
    for number, of_groups in enumerate(rates):
        assert of_groups == pytest.approx([0.1 * schedule((number + 0.5) / STEPS, 0.25)] * len(of_groups))


@pytest.mark.parametrize("name", ["fresh_quantizer", "dat"])
def test_only_matrices_decay(request, name):
    model = request.getfixturevalue(name)
    config = FitConfig(steps=1, learning_rate=0.1, weight_decay=0.7)
    groups = make_optimizer(model, config).param_groups
    settings = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(settings) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for parameter_name, parameter in model.named_parameters():
        group = settings[id(parameter)]
        assert group["weight_decay"] == (0.7 if parameter.ndim > 1 else 0.0), parameter_name


def test_frozen_parameters_stay(toy, tmp_path):
    make, task, config = toy
    model = make()
    model.map.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, task, config, seed=0, folder=tmp_path)
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert sorted(changed) == ["embeddings.0", "steps"]


def test_gradients_are_clipped(toy, tmp_path, monkeypatch):
    norms, step = [], torch.optim.AdamW.step

    def record(optimizer, *arguments, **options):
        gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        norms.append(sum(gradient.square().sum() for gradient in gradients if gradient is not None).sqrt().item())
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    run(toy, tmp_path, clip=0.01)
    assert norms == pytest.approx([0.01] * STEPS, rel=1e-3)


@pytest.mark.parametrize("finished", [False, True])
def test_callers_random_state_is_left_as_it_was(toy, tmp_path, finished):
    if finished:
        run(toy, tmp_path)
    model, state = toy[0](), torch.get_rng_state()
    fit(model, toy[1], toy[2], seed=0, folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_saved_model_carries_the_history(toy, tmp_path):
    model, history = run(toy, tmp_path)
    tensors, manifest = load_checkpoint(tmp_path / "model")
    assert manifest["step"] == STEPS and manifest["best"] == history["val"].max()
    pd.testing.assert_frame_equal(pd.DataFrame(manifest["history"]), history)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())


def test_training_in_double_precision_runs(nq, tmp_path):
    make, task, config = nq
    double = Objective(lambda step: task.batch(step).double(), lambda model: 0.0)
    _, history = run((make, double, config), tmp_path, precision="64-true")
    assert history["loss"].notna().all()


def test_a_run_waits_until_another_in_its_folder_has_ended(tmp_path, capfd):
    entered = threading.Event()

    def enter():
        with alone_in(tmp_path / "run"):
            entered.set()

    waiting = threading.Thread(target=enter)
    with alone_in(tmp_path / "run"):
        waiting.start()
        assert not entered.wait(0.3)
    waiting.join(timeout=10)
    assert entered.is_set() and "Another run is training in" in capfd.readouterr().err


def test_what_another_run_left_meanwhile_is_not_trained_again(toy, tmp_path, monkeypatch):
    other, _ = run(toy, tmp_path / "other")

    @contextlib.contextmanager
    def ended_meanwhile(folder):
        shutil.copytree(tmp_path / "other", folder)
        yield

    def batch(step):
        raise AssertionError("trained again")

    monkeypatch.setattr("calm.training.fit.alone_in", ended_meanwhile)
    model, _ = run(toy, tmp_path / "run", task=Objective(batch, toy[1].validate))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())
