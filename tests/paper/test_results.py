"""The results table, what is written beside it, and provenance."""

import hashlib
import json
import os
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from damage import flip
from PIL import Image

from calm.errors import CalmError
from calm.paper.provenance import code_state, provenance, without_folders
from calm.paper.report.page import write_report
from calm.paper.results import (
    COLUMNS,
    Results,
    read_item,
    read_provenance,
    read_results,
    save_item,
    spread_of_trainings,
    summarise,
    update_provenance,
    verify_results,
)
from calm.profile import load_profile
from calm.recordings import Recordings


def rows_of(item, values, seed=0, **changes):
    """One row per session."""
    results = Results("simulation", seed)
    for index, value in enumerate(values):
        where = {"split": "test", "session": f"s{index}", "method": "CalM"}
        results.add("corr", value, item=item, n=4, **where | changes)
    return results.table(item)


@pytest.fixture
def figure():
    drawn, axes = plt.subplots()
    axes.plot([1, 2, 3])
    yield drawn
    plt.close(drawn)


def test_columns_are_the_contract():
    assert ",".join(COLUMNS) == "item,dataset,split,group,session,method,variant,metric,value,n,seed"
    assert list(rows_of("fig3b", [0.5])) == COLUMNS
    assert list(rows_of("fig3b_trials", [0.5], trial=3)) == [*COLUMNS, "trial"]
    assert list(Results("simulation", 0).table("fig3b")) == COLUMNS


def test_numbers_of_another_training_join_the_same_table_and_their_spread_is_that_of_means_over_sessions():
    results = Results("simulation", seed=3)
    for scored, values in ((results, (0.2, 0.4)), (results.of_seed(4), (0.4, 0.6)), (results.of_seed(5), (0.6, 0.8))):
        for session, value in zip("ab", values, strict=True):
            scored.add("corr", value, item="fig3b", split="test", session=session, method="CalM")
    table = results.table("fig3b")
    assert table["seed"].tolist() == [3, 3, 4, 4, 5, 5] and results.seed == 3
    (spread,) = spread_of_trainings(table).itertuples()
    assert (spread.mean, spread.sd, spread.trainings) == pytest.approx((0.5, 0.2, 3))
    (alone,) = spread_of_trainings(rows_of("fig3b", [0.2, 0.4])).itertuples()
    assert np.isnan(alone.sd) and alone.trainings == 1


def test_an_item_is_saved_with_its_details_and_what_they_were_made_with(tmp_path, figure):
    results = Results("simulation", seed=0)
    for item in ("fig3b", "fig3b_trials", "fig3c"):
        results.add("corr", 0.5, item=item)
    results.save(tmp_path, "fig3b", figure, {"seed": 0})
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert names == {"fig3b.csv", "fig3b.png", "fig3b.pdf", "fig3b_trials.csv", "provenance.json", "SHA256SUMS"}
    assert read_provenance(tmp_path / "provenance.json") == {"fig3b": {"seed": 0}, "fig3b_trials": {"seed": 0}}


def test_rows_of_an_example_are_those_of_its_figure_under_another_item():
    results = Results("simulation", seed=0)
    for session in ("s0", "s1"):
        results.add("corr", 0.5, item="fig3b", session=session)
    results.add_rows(results.table("fig3b").query("session == 's1'"), item="fig3e")
    assert results.table("fig3e")[["item", "session", "value"]].to_numpy().tolist() == [["fig3e", "s1", 0.5]]
    assert set(results.table("fig3b")["item"]) == {"fig3b"}


def test_numbers_are_written_with_six_digits_and_whole_ones_exactly(tmp_path):
    save_item(tmp_path, "fig3b", rows_of("fig3b", [1 / 3, -1234567.8, 0, 87654321, 1.23456789e-30, np.inf]), None, {})
    written = read_item(tmp_path / "fig3b.csv")["value"].tolist()
    assert written == [0.333333, -1234570, 0, 87654321, 1.23457e-30, np.inf]


def test_what_is_saved_is_read_back(tmp_path):
    first, second = rows_of("fig3b", [1 / 3, np.nan]), rows_of("fig1b", [0.1], variant="NA")
    for item, rows in (("fig3b", first), ("fig1b", second)):
        save_item(tmp_path, item, rows, None, {})
    pd.testing.assert_frame_equal(read_item(tmp_path / "fig3b.csv"), first, check_dtype=False)
    pd.testing.assert_frame_equal(
        read_results(tmp_path), pd.concat([second, first], ignore_index=True), check_dtype=False
    )


def test_single_trials_and_reports_are_not_among_the_results(tmp_path):
    save_item(tmp_path, "fig3b", rows_of("fig3b", [0.5]), None, {})
    save_item(tmp_path, "fig3b_trials", rows_of("fig3b_trials", [0.5]).assign(trial=0), None, {})
    (tmp_path / "report.csv").write_text("item,paper,ours\nfig3b,1,2\n")
    assert set(read_results(tmp_path)["item"]) == {"fig3b"}


def test_an_empty_folder_has_a_table_without_rows(tmp_path):
    assert list(read_results(tmp_path)) == COLUMNS and len(read_results(tmp_path)) == 0


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (rows_of("fig3b", [0.5]).drop(columns="metric"), "metric"),
        (rows_of("fig1b", [0.5]), "fig1b"),
        (pd.concat([rows_of("fig3b", [0.5])] * 2), "twice"),
    ],
)
def test_malformed_results_are_refused(tmp_path, rows, complaint):
    with pytest.raises(CalmError, match=complaint):
        save_item(tmp_path, "fig3b", rows, None, {})
    assert not list(tmp_path.iterdir())


def test_figures_carry_provenance_and_are_reproducible(tmp_path, figure):
    made_with = {"seed": 3, "config": {"width": 64}}
    for folder in (tmp_path / "a", tmp_path / "b"):
        save_item(folder, "fig3b", rows_of("fig3b", [0.5]), figure, made_with)
    names = ["SHA256SUMS", "fig3b.csv", "fig3b.pdf", "fig3b.png"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir() if path.suffix != ".lock") == names
    with Image.open(tmp_path / "a" / "fig3b.png") as image:
        assert json.loads(image.text["provenance"]) == made_with
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert b"/Keywords" in (tmp_path / "a" / "fig3b.pdf").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path, figure, monkeypatch):
    rows = rows_of("fig3b", [0.5])
    save_item(tmp_path, "fig3b", rows, figure, {})
    before = (tmp_path / "fig3b.png").read_bytes()

    def fail(file, **_):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(CalmError, match="disk full"):
        save_item(tmp_path, "fig3b", rows, figure, {})
    assert (tmp_path / "fig3b.png").read_bytes() == before


def test_summary_counts_sessions_not_seeds():
    rows = pd.concat([rows_of("fig3b", [0.2, 0.4]), rows_of("fig3b", [0.4, 0.6], seed=1)])
    summary = summarise(rows).iloc[0]
    assert summary["n"] == 2
    assert summary["mean"] == pytest.approx(0.4)
    assert summary["sem"] == pytest.approx(np.std([0.3, 0.5], ddof=1) / np.sqrt(2))
    assert np.isnan(summarise(rows_of("fig3b", [0.2]))["sem"].iloc[0])


def test_provenance_says_what_and_not_who(tmp_path, make_session):
    config = {"width": 64, "data": str(tmp_path / "mine.nwb"), "files": [tmp_path / "a", "C:\\Users\\me\\b", "~/c"]}
    assert without_folders(config) == {"width": 64, "data": "mine.nwb", "files": ["a", "b", "c"]}
    session, profile = make_session([24] * 9, name="s0"), load_profile("smoke")
    results = Results("mine", seed=3)
    results.started -= 2
    entry = provenance(Recordings("mine", [session], [], profile), results)
    assert entry["config"] == profile.model_dump(mode="json")
    assert entry["seed"] == 3 and entry["data"] == {"s0": session.fingerprint()} and entry["threads"] >= 1
    assert 2 <= entry["wall_time_s"] < 10
    assert {"python", "torch", "numpy"} <= set(entry["packages"])
    assert str(tmp_path) not in json.dumps([entry, without_folders(config)])


def test_relative_paths_and_numbers_stay():
    kept = {"file": "data/one.yaml", "rate": 0.1, "none": None, "flag": True}
    assert without_folders(kept) == kept


def git(folder, *arguments):
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_code_state_follows_the_repository(tmp_path):
    module = tmp_path / "calm" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    assert code_state(module) == {"commit": None, "dirty": None}
    git(tmp_path, "init")
    assert code_state(module) == {"commit": None, "dirty": None}
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = code_state(module)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "fig3b.csv").write_text("made by a run\n")
    assert code_state(module) == clean
    module.write_text("x = 2\n")
    assert code_state(module) == {**clean, "dirty": True}


def test_any_flipped_bit_of_results_is_noticed_and_says_how_to_make_them_again(tmp_path, figure):
    folder, rng = tmp_path / "quick", np.random.default_rng(0)
    save_item(folder, "fig3b", rows_of("fig3b", [0.5]), figure, {})
    update_provenance(folder / "provenance.json", "fig3b", {"seed": 0})
    verify_results(folder)
    for path in sorted(folder.glob("[!.]*")):
        whole = path.read_bytes()
        for place in [0, len(whole) - 2, *rng.integers(len(whole), size=10)]:
            path.write_bytes(whole)
            flip(path, place, rng.integers(8))
            with pytest.raises(CalmError, match=r"is not what calm wrote .*`snakemake --cores all --forceall`"):
                write_report(folder)
        path.write_bytes(whole)
        verify_results(folder)
    (folder / "fig3b.csv").unlink()
    with pytest.raises(CalmError, match=r"fig3b\.csv is not what calm wrote"):
        verify_results(folder)


def test_results_without_checksums_are_let_pass_and_other_tools_can_read_those_there_are(tmp_path):
    rows_of("fig3b", [0.5]).to_csv(tmp_path / "fig3b.csv")
    verify_results(tmp_path)
    save_item(tmp_path, "fig1b", rows_of("fig1b", [0.5]), None, {})
    (line,) = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert line == f"{hashlib.sha256((tmp_path / 'fig1b.csv').read_bytes()).hexdigest()}  fig1b.csv"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CalmError, match="cannot be written"):
        save_item(tmp_path / "quick", "fig3b", rows_of("fig3b", [0.5]), None, {})
    tmp_path.chmod(0o700)


def test_items_are_updated_one_by_one(tmp_path):
    path = tmp_path / "figures" / "provenance.json"
    assert read_provenance(path) == {}
    for item, seed in (("fig3b", 0), ("fig1b", 1), ("fig3b", 2)):
        update_provenance(path, item, {"seed": seed})
    assert read_provenance(path) == {"fig1b": {"seed": 1}, "fig3b": {"seed": 2}}
