"""The benchmark counts and fits correctly, says why a row is empty, and writes every row of its table."""

import dataclasses
import functools
import json
import time

import numpy as np
import pandas as pd
import pytest
import torch

from calm.benchmark.__main__ import main
from calm.benchmark.cases import all_cases
from calm.benchmark.complexity import exponents, growing_steps
from calm.benchmark.inference import roll_out_uncached
from calm.benchmark.measure import Case, measure_apart, measure_here, repeat
from calm.benchmark.settings import PAPER_CORPUS, Settings, choose_settings
from calm.benchmark.steps import transformer_step
from calm.config.fitting import FitConfig
from calm.config.models import DATConfig
from calm.models.rollout import roll_out

QUICK = choose_settings("cpu", quick=True)


def test_flops_are_those_of_the_product():
    left, right = torch.randn(30, 40), torch.randn(40, 50)
    row = repeat(lambda: left @ right, QUICK)
    assert row["TFLOP"] * 1e12 == pytest.approx(2 * 30 * 40 * 50)
    assert row["n"] == QUICK.repeats and 0 < row["fastest ms"] <= row["ms"]


def test_flops_of_a_step_are_three_times_those_of_a_forward_pass_and_scores_are_computed_once_more():
    width, layers, hidden, neurons, trials, tokens, codes = 16, 2, 32, 6, 2, 5, 128
    config = DATConfig(width=width, layers=layers, heads=2, ffn=hidden, scheduled_sampling=0, replacement=0)
    row = transformer_step(config, FitConfig(steps=1), (neurons,), trials, tokens, QUICK)
    projections, attention, mlp = 16 * width**2, 4 * width * (neurons + tokens), 4 * width * hidden
    a_token = 3 * (layers * (projections + attention + mlp) + 2 * width * codes) + layers * attention / 2
    assert row["TFLOP"] * 1e12 == pytest.approx(trials * neurons * tokens * a_token)


def test_a_slow_call_is_made_once():
    row = repeat(lambda: time.sleep(0.02), QUICK.changed(seconds=0.01))
    assert row["n"] == 1 and row["ms"] >= 20


def test_exponents_of_power_laws_are_recovered():
    sizes = np.array([50, 100, 400])
    table = pd.DataFrame(
        {
            "section": "step against neurons",
            "model": "transformer",
            "neurons": sizes,
            "tokens": 25,
            "ms": 3 * sizes**1.5,
            "TFLOP": 1e-6 * sizes**2,
        }
    )
    unmeasured = table.iloc[:1].assign(neurons=800, ms=np.nan, TFLOP=np.nan)
    (fit,) = exponents(growing_steps(pd.concat([table, unmeasured]))).to_dict("records")
    assert fit["axis"] == "neurons"
    assert fit["exponent"] == pytest.approx(1.5) and fit["factor"] == pytest.approx(3)
    assert fit["exponent of FLOPs"] == pytest.approx(2)


def test_a_rollout_without_cache_is_the_one_with_it(dat, batch):
    context = dataclasses.replace(batch, tokens=batch.tokens[..., :3])
    cached = roll_out(dat, context, steps=4).chosen[0].argmax(-1)
    assert torch.equal(roll_out_uncached(dat, context, steps=4), cached)


def test_the_papers_corpus_has_its_sessions_and_neurons():
    assert (len(PAPER_CORPUS), sum(PAPER_CORPUS)) == (286, 273_770)
    assert {corpus[0] for corpus in Settings().corpora} == {PAPER_CORPUS[0]}  # the same step in both


def allocate(megabytes, settings):
    return {"bytes": torch.ones(megabytes * 250_000).nbytes}


def wait(settings):
    time.sleep(60)


def fail(settings):
    raise ValueError("a mistake")


def case(measure):
    return Case("section", "model", "setting", measure)


def test_peak_memory_is_what_a_case_took_and_not_what_was_there_before():
    few, many = (measure_apart(case(functools.partial(allocate, size)), QUICK)["peak MB"] for size in (20, 300))
    assert many - few == pytest.approx(280, abs=15)


def test_a_case_that_needs_too_much_memory_is_skipped_with_the_reason():
    row = measure_apart(case(functools.partial(allocate, 10**7)), QUICK)
    assert row["note"].startswith("skipped, out of memory: ")


def test_a_case_that_takes_too_long_is_skipped_with_the_reason():
    assert measure_apart(case(wait), QUICK.changed(limit=1)) == {"note": "skipped, not done after 1 s"}


def test_a_case_that_fails_says_how_and_takes_no_other_row_with_it():
    assert measure_here(case(fail), QUICK) == {"note": "failed: ValueError: a mistake"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(SystemExit, match="calm: There is no CUDA GPU here"):
        main(["--device", "cuda"])


@pytest.mark.slow
def test_every_row_is_measured_and_written_with_figure_and_provenance(tmp_path, capsys):
    main(["--quick", "--folder", str(tmp_path)])
    table = pd.read_csv(tmp_path / "benchmark.csv")
    measured = table[table["section"] != "complexity"]
    cases = [(each.section, each.model, each.setting) for each in all_cases(QUICK)]
    assert list(measured[["section", "model", "setting"]].itertuples(index=False, name=None)) == cases
    assert "note" not in table and (measured["ms"] > 0).all() and (measured["peak MB"] > 0).all()
    assert measured[measured["section"] == "rivals"]["windows/s"].notna().all()
    fits = table[table["section"] == "complexity"]
    assert fits["exponent"].notna().sum() == 4
    assert {path.name for path in tmp_path.glob("benchmark.*")} == {f"benchmark.{end}" for end in ("csv", "png", "pdf")}
    about = json.loads((tmp_path / "provenance.json").read_text())["benchmark"]
    assert about["config"]["small"] == "smoke"
    printed = capsys.readouterr().out
    assert all(section in printed for section in table["section"].unique())
