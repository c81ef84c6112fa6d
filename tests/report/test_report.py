"""The report: a section for everything, texts shown as they are, and nothing said that was not computed."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from report_cases import fill, results_rows, save_figure_of, trial_rows

from calm.errors import CalmError
from calm.paper.claims.comparisons import FAILS, HOLDS
from calm.paper.claims.table import CLAIMS, judge, verdict_of
from calm.paper.report import __main__ as command
from calm.paper.report.claims import claim_section
from calm.paper.report.comparison import compare, summarise_results
from calm.paper.report.items import ITEMS, extras_of, item_of
from calm.paper.report.page import write_report
from calm.paper.report.settings import departures, settings_tables
from calm.paper.report.tables import digits, escape, item_tables, markdown, value_text
from calm.paper.report.web import slug, web_page
from calm.paper.results import read_published, save_item
from calm.profile import load_profile

FILES = ("report.md", "report.csv", "report.html")
HOSTILE = "<script>a</script> | ![x](/etc/hosts) [y](z) **b** `c` &lt; _d_ \\"


class Page(HTMLParser):
    """Tags, anchors, internal links, sources of images and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.anchors, self.links, self.sources, self.text = set(), [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        self.anchors += [values["id"]] if "id" in values else []
        self.links += [values["href"][1:]] if values.get("href", "").startswith("#") else []
        self.sources += [values["src"]] if "src" in values else []

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a folder with figures, details, a matched value of the recordings, and names that are Markdown."""
    folder = fill(tmp_path_factory.mktemp("figures") / "quick")
    for item in ("fig3b_fading", "adaptation"):
        save_figure_of(folder, item)
    for item, method, dataset in (
        ("fig3c", ("POCO", ""), "dandi_000579"),
        ("table7", ("CalM", "baseline"), "cohort"),
        ("fig4b", ("GLM", HOSTILE), "<img src=x>"),
    ):
        save_item(folder, item, results_rows(item, {method: 0.3}, dataset, metric="corr"), None, {})
    return write_report(folder)


@pytest.fixture(scope="module")
def text(report):
    return (report.folder / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(report):
    return Page((report.folder / "report.html").read_text(encoding="utf-8"))


def section(text, heading):
    """What stands between a heading and the next of its level."""
    return re.split(r"\n## ", text.split(f"\n## {heading}", 1)[1])[0]


def test_every_item_has_a_section_in_order_and_says_what_is_missing(text):
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading for heading in headings if re.match(r"(Fig\.|Table) ", heading)] == [item.heading for item in ITEMS]
    assert "Not computed in this profile: `notebooks/05_decoding`" in section(text, "Fig. 4D")
    missing = section(text, "Table 9")
    assert "paper (DANDI:000579)" in missing and "0.930" in missing and "ours" not in missing
    assert not re.search(r"\bnan\b", text.lower())


def test_a_section_has_figure_numbers_files_and_what_belongs_to_it(text):
    fig3b = section(text, "Fig. 3B")
    assert "![Fig. 3B](fig3b.png)" in fig3b and "[fig3b_trials.csv](fig3b_trials.csv)" in fig3b
    assert "Ours (simulation, n = 3 sessions)" in fig3b
    costs, fading = fig3b.split("### ")[1:]
    assert costs.startswith("What the methods cost (Fig. 3B)") and "1,562,300" in costs
    assert "learning rate 0.001" in costs and "0.717" in costs
    assert "![How forecasts fade](fig3b_fading.png)" in fading
    assert "![Adaptation to held-out subjects](adaptation.png)" in section(text, "Beyond the paper")


def test_claims_stand_on_top_and_are_told_test_by_test(text):
    assert len(re.findall(r"^\| \[?\d", section(text, "Verdicts"), re.MULTILINE)) == 18
    assert "Fig. 4C was not computed" in section(text, "The claims, test by test")


def test_report_says_what_it_was_made_with_and_what_departs_from_the_profile(text):
    made = section(text, "Made with")
    for fact in ("quick", "aaaaaaaaaaaa with uncommitted changes", "CPU (test)", "1.5 min", "dat.width 95"):
        assert fact in made


def test_numbers_of_the_recordings_are_told_from_others(text):
    needs = section(text, "What needs the recordings")
    assert "Beside 1 of them stand" in needs and "beside 1 numbers of other data, and beside 79 none" in needs


def test_texts_of_users_are_shown_as_they_are_and_do_nothing(page, text):
    assert f"GLM, {HOSTILE}" in page.text and "Ours (<img src=x>, n = 2 sessions)" in page.text
    assert "script" not in page.tags
    tokens = [child for token in MarkdownIt().enable("table").parse(text) for child in token.children or ()]
    images = [token.attrs["src"] for token in tokens if token.type == "image"]
    assert images == ["fig3b.png", "fig3b_fading.png", "adaptation.png"]
    assert not [token for token in tokens if token.type == "html_inline"]


def test_a_report_of_a_users_recordings_is_about_them(tmp_path, capsys):
    folder = fill(tmp_path / "quick" / "quick ![x](fig3b.png)")
    contents = write_report(folder)
    text, page = (folder / "report.md").read_text(), Page((folder / "report.html").read_text())
    assert contents.profile == "quick" and "What calm made of quick ![x](fig3b.png)" in page.text
    assert re.search(r"Forecast.* \(Fig\. 3B\) *\| CalM, mean of 16 *\| corr", section(text, "In short"))
    computed = re.findall(r"^## (Fig\. .*)$", text, re.MULTILINE)
    assert computed == [item.heading for item in ITEMS if item.name == "fig3b"]
    assert "Not computed" not in text and "## Verdicts" not in text and not re.search(r"\bnan\b", text.lower())
    assert len(page.sources) == 1 and set(page.links) <= set(page.anchors)
    command.print_summary(contents)
    printed = capsys.readouterr().out
    assert "CalM, mean of 16" in printed and "claim " not in printed


@pytest.mark.parametrize(("calm", "explained"), [(0.6, False), (0.3, True)])
def test_a_claim_that_does_not_hold_is_explained_and_one_that_holds_is_not(tmp_path, calm, explained):
    claim = CLAIMS[1]
    scores = {("CalM", "greedy"): calm, **{(rival, ""): 0.45 for rival in claim.tests[0]["rivals"]}}
    save_item(tmp_path, "fig3b_trials", trial_rows(scores, 5), None, {})
    tests = judge(tmp_path, [claim.number])
    assert verdict_of(claim, tests) == (FAILS if explained else HOLDS)
    assert (f"*Why not, most likely:* {claim.why}" in claim_section(claim, tests)) == explained


def test_whatever_is_tested_can_be_explained():
    assert all(claim.why or claim.construction for claim in CLAIMS)


def test_the_report_of_the_papers_recordings_has_the_claims(tmp_path):
    folder = fill(tmp_path / "paper" / "dandi_000579")
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert text.startswith("# The paper and ours: profile paper, dataset dandi_000579\n") and "## Verdicts" in text


@pytest.mark.parametrize(
    "name", [HOSTILE, "a_b", "_a_", "x" + "`" * 3, "<http://a.b>", "two\nlines", "[a]: b", "$x$ ~~y~~"]
)
def test_an_escaped_text_is_one_piece_of_text(name):
    (block,) = [token for token in MarkdownIt().enable("strikethrough").parse(f"so: {escape(name)}") if token.children]
    assert {token.type for token in block.children} <= {"text", "text_special"}
    assert "".join(token.content for token in block.children) == f"so: {' '.join(name.split())}"


def test_a_cell_with_a_pipe_stays_one_cell():
    html = MarkdownIt().enable("table").render(markdown(pd.DataFrame({"a|b": ["|r| | s"], "c": ["t"]})))
    assert html.count("<th") - html.count("<thead") == 2 and "<td" in html and "|r| | s</td>" in html


@pytest.mark.parametrize("path", ["/etc/hosts.png", "../outside.png", "inside/../../outside.png", "missing.png"])
def test_images_come_from_the_folder_only(tmp_path, path):
    (tmp_path / "quick").mkdir()
    save_figure_of(tmp_path, "outside")
    assert Page(web_page(f"# Title\n\n![x]({path})", tmp_path / "quick")).sources == []


def test_the_page_holds_its_images_and_all_its_links_lead_somewhere(page):
    assert len(page.sources) == 3 and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert set(page.links) <= set(page.anchors) and len(page.links) > 29
    assert len(set(page.anchors)) == len(page.anchors)


def test_the_report_can_be_written_again_with_the_same_bytes(report):
    before = {name: (report.folder / name).read_bytes() for name in FILES}
    write_report(report.folder)
    assert {name: (report.folder / name).read_bytes() for name in FILES} == before


def test_an_image_is_as_wide_as_it_was_drawn(tmp_path):
    save_figure_of(tmp_path, "fig1b", width=1200)  # four inches
    assert f'width="{4 * 96}"' in web_page("# Title\n\n![x](fig1b.png)", tmp_path)


def test_anchors_are_those_of_github():
    assert slug("Fig. 3B. Forecasts, single recordings") == "fig-3b-forecasts-single-recordings"


@pytest.mark.parametrize(
    ("values", "decimals"),
    [([0.5, 1.0], 3), ([1.0, 1.0], 3), ([17, 2], 0), ([12.5], 2), ([250.5], 1), ([1e6 + 0.5], 0)],
)
def test_values_have_the_decimals_that_they_need(values, decimals):
    assert digits(pd.Series(values)) == decimals


def test_a_value_is_written_with_its_spread_if_there_is_one():
    assert value_text(-0.25, 0.1) == "\N{MINUS SIGN}0.250 ± 0.100"
    assert value_text(0.25) == "0.250" and value_text(float("nan"), 0.1) == ""


def tables_of(*tables):
    """The tables of one item."""
    rows = compare(summarise_results(pd.concat(tables)), read_published())
    return item_tables(rows[rows["item"] == tables[0]["item"].iloc[0]])


def test_metrics_of_other_methods_make_a_table_of_their_own():
    means = results_rows("fig3b_cost", {("POCO", ""): 5e5}, metric="parameters")
    tries = results_rows("fig3b_cost", {("POCO", "learning rate 0.1"): 0.7}, metric="a try")
    times = results_rows("fig3b_cost", {("POCO", ""): 2.0}, metric="training (s)")
    _, first, second = tables_of(means, tries, times)
    assert "parameters" in first and "training (s)" in first and "a try" not in first
    assert "learning rate 0.1" in second and "a try" in second


def test_values_that_could_not_be_computed_are_said_to_be_so():
    unknown = results_rows("fig8a", {("CalM", "cue"): float("nan")}, metric="corr with tuning")
    assert tables_of(unknown)[1:] == ["None of its values could be computed."]
    known = results_rows("fig8a", {("CalM", "choice"): 0.5}, metric="corr with tuning")
    (table,) = tables_of(unknown, known)[1:]
    assert "choice" in table and "0.505" in table and "cue" not in table


def test_validation_trials_are_shown_beside_training_trials_only():
    test, val, train = (results_rows("fig1b", {("CalM", ""): 0.5}, split=split) for split in ("test", "val", "train"))
    assert "corr, val" not in "".join(tables_of(test, val))
    assert "corr, val" in "".join(tables_of(test, val, train))


def test_the_group_of_mice_tells_rows_of_one_method_apart():
    groups = [results_rows("fig1b", {("CalM", ""): 0.5}, group=group) for group in ("held-in", "held-out")]
    _, table = tables_of(*groups)
    assert re.findall(r"^\| (held\S+)", table, re.MULTILINE) == ["held-in", "held-out"]


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
    assert item_of(extra) == item
    assert extras_of(item, [extra, "fig3b"]) == [extra]


def test_settings_that_are_the_profiles_depart_from_nothing():
    config = load_profile("quick").model_dump(mode="json")
    assert departures("quick", [{"config": config}]) == {}
    changed = config | {"dat": config["dat"] | {"width": 95}}
    assert departures("quick", [{"config": changed}, {"config": config}]) == {"dat.width": ["95"]}


def test_tables_of_settings_are_the_profiles_values():
    quick, paper = load_profile("quick"), load_profile("paper")
    (_, table) = settings_tables("quick", {"DAT": ["dat"]})
    rows = {cells[1]: cells[2:4] for cells in (re.split(r" *\| *", line) for line in table.splitlines()[2:])}
    assert rows["dat.width"] == [f"**{quick.dat.width}**", str(paper.dat.width)]
    assert rows["dat.block"] == [str(quick.dat.block), str(paper.dat.block)]
    assert {name for name in rows if name.startswith("dat.")} == {
        f"dat.{name}" for name in type(quick.dat).model_fields
    }


@pytest.mark.parametrize("item", [item for item in ITEMS if item.settings], ids=lambda item: item.label)
def test_profile_paper_differs_from_itself_in_nothing(item):
    shown = settings_tables("paper", item.settings)
    assert len(shown) == 2 * len(item.settings) and not re.search(r"\| \*\*", "".join(shown))


def test_an_empty_folder_gives_a_report_of_what_is_missing(tmp_path):
    (tmp_path / "smoke").mkdir()
    write_report(tmp_path / "smoke")
    text = (tmp_path / "smoke" / "report.md").read_text()
    assert text.startswith("# The paper and ours: profile smoke\n")
    assert "Nothing was computed in this profile yet" in text and "cannot be tested here" in text


def test_summary_fits_a_terminal(report, capsys):
    command.print_summary(report)
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


def test_a_report_says_how_far_trainings_differ_or_that_there_was_but_one(tmp_path):
    folder = tmp_path / "quick"
    once = results_rows("fig3b", {("POCO", ""): 0.3, ("decay", ""): 0.2}, "simulation")
    save_item(folder, "fig3b", once, None, {})
    write_report(folder)
    assert "Every network was trained once" in (folder / "report.md").read_text()
    again = once.assign(seed=1, value=once["value"] + (once["method"] == "POCO") * 0.02)
    save_item(folder, "fig3b", pd.concat([once, again]), None, {})
    write_report(folder)
    section = (folder / "report.md").read_text().partition("## How far trainings differ")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if "POCO" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["Fig. 3B", "POCO", "corr", "0.315", "0.014", "2"]
    assert "decay" not in section
