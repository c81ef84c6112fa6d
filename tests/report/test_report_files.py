"""The report as files: the HTML page stands alone, nothing is torn apart in the PDF, equal input gives equal bytes."""

import re
from html.parser import HTMLParser

import mistune
import pandas as pd
import pytest
from report_cases import fill, results_rows, save_figure_of
from reportlab.pdfbase.pdfmetrics import getFont
from reportlab.platypus import Image, KeepTogether, Table

from calm.paper.report import pdf, write_report
from calm.paper.report.tables import markdown
from calm.paper.report.web import printed_size, slug, web_page
from calm.paper.results import save_item

FILES = [f"report.{kind}" for kind in ("md", "csv", "html", "pdf")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("figures") / "quick")
    save_item(folder, "fig4b", results_rows("fig4b", {("CalM", "GLU <head> | *one*"): 0.5}), None, {})
    save_figure_of(folder, "fig3e", width=4000, height=6000)
    write_report(folder)
    return folder


class Page(HTMLParser):
    """Anchors, internal links and sources of images."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors += [found["id"]] if "id" in found else []
        self.links += [found["href"][1:]] if found.get("href", "").startswith("#") else []
        self.sources += [found["src"]] if "src" in found else []


def test_the_report_can_be_written_again_with_the_same_bytes(folder):
    before = {name: (folder / name).read_bytes() for name in FILES}
    write_report(folder)
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_the_page_holds_its_images_and_all_its_links_lead_somewhere(folder):
    page = Page((folder / "report.html").read_text())
    assert len(page.sources) == 2 and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert set(page.links) <= set(page.anchors) and len(page.links) > 29
    assert len(set(page.anchors)) == len(page.anchors)


def test_texts_are_shown_as_they_are(folder):
    text = (folder / "report.html").read_text()
    assert "GLU &lt;head&gt; | " in text and "<head>" not in text.split("<body>")[1]


def test_a_cell_with_a_pipe_stays_one_cell():
    tokens = mistune.create_markdown(renderer=None, plugins=["table"])(
        markdown(pd.DataFrame({"a": ["|r| | s"], "b": ["t"]}))
    )
    row = tokens[0]["children"][1]["children"][0]["children"]
    assert [pdf.plain(cell["children"]) for cell in row] == ["|r| | s", "t"]


def test_an_image_is_as_wide_as_it_was_drawn(tmp_path):
    save_figure_of(tmp_path, "fig1b", width=1004)
    assert printed_size(tmp_path / "fig1b.png")[0] == pytest.approx(85, abs=0.1)
    assert "width: 85.0mm" in web_page("# Title\n\n![x](fig1b.png)", tmp_path)


def test_anchors_are_those_of_github():
    assert slug("Fig. 3B. Forecasts, single recordings") == "fig-3b-forecasts-single-recordings"


def table_of(rows):
    """A table of texts as the PDF sees it."""
    text = markdown(pd.DataFrame(rows))
    head, body = mistune.create_markdown(renderer=None, plugins=["table"])(text)[0]["children"]
    return [head["children"], *(row["children"] for row in body["children"])]


def test_columns_are_as_wide_as_their_texts_if_these_fit():
    pdf.register_fonts()
    rows = table_of({"a": ["short", "a longer text"], "b": ["x", "y"]})
    widths = pdf.column_widths(rows)
    assert widths == [max(pdf.text_width(row[column])[0] for row in rows) for column in range(2)]


@pytest.mark.parametrize("columns", [2, 8, 40])
def test_a_wide_table_is_fitted_to_the_page_and_narrow_columns_keep_their_width(columns):
    pdf.register_fonts()
    rows = table_of({"narrow": ["x"]} | {f"c{index}": ["many words " * 30] for index in range(columns)})
    widths = pdf.column_widths(rows)
    assert sum(widths) <= pdf.WIDTH + 1e-6
    if columns < 40:
        assert widths[0] == pdf.text_width(rows[0][0])[0] and min(widths[1:]) > widths[0]


def test_nothing_is_larger_than_a_page(folder):
    groups = pdf.story((folder / "report.md").read_text(), folder)
    parts = [part for group in groups for part in group._content]
    assert {Image, Table} <= {type(part) for part in parts}
    for part in parts:
        width, height = part.wrap(pdf.WIDTH, pdf.HEIGHT)
        assert width <= pdf.WIDTH + 1e-6
        assert isinstance(part, Table) or height < pdf.HEIGHT


def test_figures_and_tables_stay_with_their_heading_and_the_lines_above_them(folder):
    groups = pdf.story((folder / "report.md").read_text(), folder)
    for group in groups:
        assert isinstance(group, KeepTogether)
        kinds = [isinstance(part, Image | Table) for part in group._content]
        assert not any(kinds[:-1])
    with_figure = next(group for group in groups if isinstance(group._content[-1], Image))
    assert with_figure._content[0].getPlainText() == "Fig. 3B. Forecasts, simulation"


def test_headings_are_in_the_outline_and_links_in_the_pdf(folder):
    written = (folder / "report.pdf").read_bytes()
    text = (folder / "report.md").read_text()
    assert written.startswith(b"%PDF") and b"/CreationDate (D:2000" in written
    headings = re.findall(r"^#+ ", text, re.MULTILINE)
    assert written.count(b"/Title") == len(headings) + 1  # that of the document
    assert written.count(b"/Subtype /Link") >= text.count("](#")


def test_the_font_has_every_sign_of_the_page(folder):
    pdf.register_fonts()
    known = {chr(code) for code in getFont(pdf.FONT).face.charToGlyph}
    others = "\N{MINUS SIGN}\N{MULTIPLICATION SIGN}\N{BULLET}\N{SUPERSCRIPT TWO}"
    assert set((folder / "report.md").read_text() + others) - known <= {"\n"}
