"""The report: published values beside ours, a section for everything, and nothing said that was not computed."""

import re

import numpy as np
import pandas as pd
import pytest
from report_cases import fill, results_rows, save_figure_of

from calm.errors import CalmError
from calm.paper.claims.claims import COLUMNS, HOLDS, UNTESTED
from calm.paper.report import __main__ as command
from calm.paper.report import compare, read_published, verdicts, write_report
from calm.paper.report.items import ITEMS, extras_of, owner
from calm.paper.report.numbers import IN_VARIANTS, NO_COUNTERPART, NOT_RUN, VARIANT_OF, counterpart, summarise_results
from calm.paper.report.settings import TABLES, departures, settings_table
from calm.paper.report.tables import digits, item_tables, number
from calm.paper.report.terminal import print_summary
from calm.paper.results import save_item
from calm.profile import load_profile


def test_published_values_are_all_there_once_and_each_belongs_to_an_item():
    published = read_published()
    assert not published.duplicated(["item", "split", "method", "variant", "metric"]).any()
    assert set(published["item"]) <= {item.name for item in ITEMS}
    counts = published["item"].value_counts()
    assert counts[["fig3c", "fig4b", "fig4c", "table7", "table8", "table9"]].tolist() == [5, 18, 3, 4, 3, 6]
    fig3c = published[published["item"] == "fig3c"].set_index("method")["value"]
    assert fig3c["CalM"] == 0.4025 and fig3c.idxmax() == "CalM"


def compared(item, values, **changes):
    """Ours and the published values of one item."""
    both = compare(summarise_results(results_rows(item, values, **changes)), read_published())
    return both[both["item"] == item].reset_index(drop=True)


def test_ours_stand_beside_the_paper_whatever_the_data_and_both_are_named():
    poco = compared("fig3c", {("POCO", ""): 0.3}).set_index("method").loc["POCO"]
    assert (poco["paper"], poco["paper_dataset"], poco["dataset"], poco["note"]) == (
        0.2901,
        "dandi_000579",
        "cohort",
        "",
    )
    assert poco["ours"] == pytest.approx(0.305)


def test_our_variants_stand_below_the_papers_method():
    rows = compared("fig3c", {("decay", ""): 0.1, ("CalM", "greedy"): 0.2, ("CalM", "mean of 4"): 0.3})
    calm = rows[rows["method"] == "CalM"]
    assert calm["variant"].tolist() == ["", "greedy", "mean of 4"]
    assert calm["note"].tolist() == [IN_VARIANTS, VARIANT_OF, VARIANT_OF]
    assert calm["paper"].notna().tolist() == [True, False, False]
    assert list(dict.fromkeys(rows["method"])) == ["iTransformer", "PatchTST", "TCN", "POCO", "CalM", "decay"]
    assert rows.set_index("method").loc[["TCN", "decay"], "note"].tolist() == [NOT_RUN, NO_COUNTERPART]


def test_a_published_variant_stands_beside_the_same_variant_only():
    rows = compared("table7", {("CalM", "baseline"): 0.5, ("CalM", "another"): 0.4}).set_index("variant")
    assert rows.loc["baseline", "paper"] == 0.3424 and rows.loc["baseline", "note"] == ""
    assert rows.loc["another", "note"] == NO_COUNTERPART


@pytest.mark.parametrize(
    ("variant", "published", "home"),
    [
        ("GLU head, held-in", ["linear head", "GLU head", ""], "GLU head"),
        ("greedy", [""], ""),
        ("greedy", ["baseline"], "greedy"),
        ("GLU head, held-in", ["GLU head, held-in", "GLU head"], "GLU head, held-in"),
    ],
)
def test_a_variant_belongs_to_the_published_one_that_says_most_of_it(variant, published, home):
    assert counterpart(variant, published) == home


def test_another_split_or_metric_than_the_papers_is_no_counterpart():
    for changes in ({"split": "val"}, {"metric": "mse"}):
        assert compared("fig3c", {("POCO", ""): 0.3}, **changes)["ours"].isna()[:5].all()


def test_comparison_loses_no_number():
    rng = np.random.default_rng(0)
    items, methods = ["fig3c", "table7", "ours"], ["CalM", "POCO", "GLM"]
    variants = ["", "greedy", "baseline", "baseline, held-in"]
    keys = rng.permutation([(item, method, variant) for item in items for method in methods for variant in variants])
    tables = [results_rows(item, {(method, variant): rng.uniform()}) for item, method, variant in keys[:20]]
    ours, published = summarise_results(pd.concat(tables)), read_published()
    both = compare(ours, published)
    assert sorted(both["ours"].dropna()) == sorted(ours["mean"])
    assert sorted(both["paper"].dropna()) == sorted(published["value"])
    assert not both.duplicated(["item", "split", "method", "variant", "metric", "dataset"]).any()


def test_a_number_of_all_sessions_together_has_no_n():
    rows = results_rows("table9", {("CalM", "neuron embedding"): 0.5})
    together = summarise_results(rows[rows["session"] == "s0"].assign(session="all"))
    assert summarise_results(rows)["n"].tolist() == [2] and together["n"].isna().all()


@pytest.mark.parametrize(
    ("values", "decimals"),
    [([0.5, 1.0], 3), ([1.0, 1.0], 3), ([17, 2], 0), ([12.5], 2), ([250.5], 1), ([1e6 + 0.5], 0)],
)
def test_numbers_have_the_decimals_that_they_need(values, decimals):
    assert digits(pd.Series(values)) == decimals


def test_a_number_is_written_with_its_spread_if_there_is_one():
    assert number(-0.25, 0.1) == "\N{MINUS SIGN}0.250 ± 0.100"
    assert number(0.25) == "0.250" and number(float("nan"), 0.1) == ""


def test_metrics_of_other_methods_make_a_table_of_their_own():
    means = results_rows("fig3b_cost", {("POCO", ""): 5e5}, metric="parameters")
    tries = results_rows("fig3b_cost", {("POCO", "learning rate 0.1"): 0.7}, metric="a try")
    times = results_rows("fig3b_cost", {("POCO", ""): 2.0}, metric="training (s)")
    rows = compare(summarise_results(pd.concat([means, tries, times])), read_published())
    _, first, second = item_tables(rows[rows["item"] == "fig3b_cost"])
    assert "parameters" in first and "training (s)" in first and "a try" not in first
    assert "learning rate 0.1" in second and "a try" in second


def test_validation_trials_are_shown_beside_training_trials_only():
    test, val, train = (results_rows("fig1b", {("CalM", ""): 0.5}, split=split) for split in ("test", "val", "train"))
    for tables, shown in (([test, val], False), ([test, val, train], True)):
        rows = compare(summarise_results(pd.concat(tables)), read_published())
        assert ("corr, val" in "".join(item_tables(rows[rows["item"] == "fig1b"]))) == shown


@pytest.mark.parametrize(
    ("extra", "item"),
    [
        ("fig3b_cost", "fig3b"),
        ("fig6_layer", "fig6b"),
        ("table9_shuffles", "table9"),
        ("adaptation", ""),
        ("fig99", ""),
    ],
)
def test_our_own_results_are_put_after_the_item_that_their_name_begins_with(extra, item):
    assert owner(extra) == item
    assert extras_of(item, [extra, "fig3b"]) == [extra]


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "quick")


def section(text, heading):
    """What stands between a heading and the next of its level."""
    return re.split(r"\n## ", text.split(f"\n## {heading}", 1)[1])[0]


def test_every_item_has_a_section_in_order_and_says_what_is_missing(folder):
    write_report(folder)
    text = (folder / "report.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading for heading in headings if heading in {item.heading for item in ITEMS}] == [
        item.heading for item in ITEMS
    ]
    assert "Not computed in this profile: `notebooks/05_decoding`" in section(text, "Fig. 4D")
    missing = section(text, "Fig. 4B")
    assert "paper (DANDI:000579)" in missing and "0.772" in missing and "ours" not in missing
    assert "nan" not in re.sub("[a-z]*nan[a-z]+|[a-z]+nan", "", text.lower())


def test_a_section_has_figure_numbers_files_and_what_belongs_to_it(folder):
    save_figure_of(folder, "fig3b_fading")
    save_figure_of(folder, "adaptation")
    write_report(folder)
    text = (folder / "report.md").read_text()
    fig3b = section(text, "Fig. 3B")
    assert "![Fig. 3B](fig3b.png)" in fig3b and "[fig3b_trials.csv](fig3b_trials.csv)" in fig3b
    assert "ours" in fig3b.lower() and "simulation, n = 3 sessions" in fig3b
    costs, fading = fig3b.split("### ")[1:]
    assert costs.startswith("What the methods cost (Fig. 3B)") and "1,562,300" in costs
    assert "learning rate 0.001" in costs and "0.717" in costs
    assert "![How forecasts fade](fig3b_fading.png)" in fading
    assert "![Adaptation to held-out subjects](adaptation.png)" in section(text, "Beyond the paper")


def test_report_says_what_it_was_made_with_and_what_departs_from_the_profile(folder):
    write_report(folder)
    made = section((folder / "report.md").read_text(), "Made with")
    for fact in (
        "quick",
        "aaaaaaaaaaaa with uncommitted changes",
        "CPU (test)",
        "1.5 min",
        "dat.width",
        "`dat.width` 95",
    ):
        assert fact in made


def test_settings_that_are_the_profiles_depart_from_nothing():
    config = load_profile("quick").model_dump(mode="json")
    assert departures("quick", [{"config": config}]) == {}
    changed = config | {"dat": config["dat"] | {"width": 95}}
    assert departures("quick", [{"config": changed}, {"config": config}]) == {"dat.width": "95"}


def test_tables_of_settings_are_the_profiles_values():
    quick, paper = load_profile("quick"), load_profile("paper")
    (_, table) = settings_table("quick", "table6")
    rows = {cells[1]: cells[2:4] for cells in (re.split(r" *\| *", line) for line in table.splitlines()[2:])}
    assert rows["width"] == [f"**{quick.dat.width}**", str(paper.dat.width)]
    assert rows["block"] == [str(quick.dat.block), str(paper.dat.block)]
    assert set(rows) == set(type(quick.dat).model_fields)


@pytest.mark.parametrize("item", TABLES)
def test_profile_paper_differs_from_itself_in_nothing(item):
    assert not re.search(r"\| \*\*", "".join(settings_table("paper", item)))


def test_claims_stand_on_top_and_are_told_test_by_test(folder):
    write_report(folder)
    text = (folder / "report.md").read_text()
    verdicts = section(text, "Verdicts")
    assert len([line for line in verdicts.splitlines() if line.startswith("| ")]) == 1 + 18
    assert "holds by construction" in verdicts
    tests = section(text, "The claims, test by test")
    assert "(CalM (mean of 16) over decay)" in tests and HOLDS in tests  # the claim does not name decay
    assert "Fig. 4B was not computed" in tests


def test_a_claim_whose_tests_have_no_numbers_is_listed_with_what_is_missing(folder, monkeypatch):
    row = {"item": "claim 7", "dataset": "", "split": "test", "variant": "", "metric": "r2", "method": "CalM over GLM"}
    judged = pd.DataFrame([row | {"note": UNTESTED}], columns=list(COLUMNS))
    monkeypatch.setattr(verdicts, "JUDGES", (*verdicts.JUDGES, lambda _: judged))
    write_report(folder)
    tests = section((folder / "report.md").read_text(), "The claims, test by test")
    assert "### Claim 7" not in tests and "CalM over GLM" not in tests
    assert re.search(r"\| 7 +\| Fig. 4B was not computed", tests)


def test_numbers_of_the_recordings_are_told_from_others(folder):
    save_item(folder, "fig3c", results_rows("fig3c", {("POCO", ""): 0.3}, dataset="dandi_000579"), None, {})
    save_item(folder, "table7", results_rows("table7", {("CalM", "baseline"): 0.3}), None, {})
    write_report(folder)
    needs = section((folder / "report.md").read_text(), "What needs the recordings")
    assert "- 1 computed on the recordings themselves: Fig. 3C" in needs
    assert "- 1 beside a number of other data: Table 7" in needs


def test_an_empty_folder_gives_a_report_of_what_is_missing(tmp_path):
    (tmp_path / "smoke").mkdir()
    write_report(tmp_path / "smoke")
    text = (tmp_path / "smoke" / "report.md").read_text()
    assert "Nothing was computed in this profile yet" in text and "cannot be tested here" in text


def test_a_dataset_of_ones_own_has_its_folder_within_the_profiles(tmp_path):
    write_report(fill(tmp_path / "smoke" / "mine"))
    text = (tmp_path / "smoke" / "mine" / "report.md").read_text()
    assert text.startswith("# The paper and ours: profile smoke, dataset mine\n")


def test_summary_fits_a_terminal(folder, capsys):
    save_item(folder, "fig3c", results_rows("fig3c", {("CalM", "mean of 64, held-out" + 30 * "x"): 0.3}), None, {})
    print_summary(write_report(folder))
    *lines, _ = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    printed = "\n".join(lines)
    assert "CalM, mean of 16" in printed and "0.403" in printed and "synthetic cohort" in printed
    assert len([line for line in lines if line.startswith("claim ")]) == 18


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["nowhere/quick"], ["unknown"]])
def test_a_wrong_call_ends_with_one_sentence(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unknown").mkdir()
    (tmp_path / "unknown" / "fig3b.csv").touch()
    with pytest.raises(SystemExit, match=r"^calm: .*(figures/<profile>|run snakemake)"):
        command.main(arguments)


def test_a_folder_of_no_profile_is_refused(tmp_path):
    with pytest.raises(CalmError, match="figures/<profile>"):
        write_report(tmp_path)
