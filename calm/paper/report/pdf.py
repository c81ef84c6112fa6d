"""Markdown to a PDF of A4 pages, without a browser or LaTeX: ReportLab lays out what mistune parses."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import matplotlib
import mistune
import numpy as np
from reportlab.lib.colors import black
from reportlab.lib.enums import TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, Image, KeepTogether, PageTemplate, Paragraph, Table

from calm.paper.report.web import printed_size, slug, title_of

FONT, BOLD, MONO = "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono"
FACES = (FONT, BOLD, "DejaVuSans-Oblique", "DejaVuSans-BoldOblique")  # in the order of registerFontFamily
MARGIN = 18 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - 2 * MARGIN
TALLEST = 0.72 * HEIGHT  # of a figure, so that its heading and caption find room above it
CELL = 7.2  # pt; type in tables
PADDING = 3  # pt, left and right of a cell's text
STEPS = 200  # in which columns are made narrower
LONGEST_WORD = 45 * mm  # what a column may insist on
BODY = ParagraphStyle("body", fontName=FONT, fontSize=8.8, leading=12.2, spaceBefore=2.5, spaceAfter=2.5)
BULLET = ParagraphStyle("bullet", BODY, leftIndent=10, bulletIndent=2)
HEADINGS = {
    1: ParagraphStyle("h1", fontName=BOLD, fontSize=15, leading=19, spaceAfter=6),
    2: ParagraphStyle("h2", fontName=BOLD, fontSize=11.5, leading=15, spaceBefore=14, spaceAfter=3),
    3: ParagraphStyle("h3", fontName=BOLD, fontSize=9.5, leading=13, spaceBefore=9, spaceAfter=2),
}
RULES = [
    ("LINEABOVE", (0, 0), (-1, 0), 0.8, black),
    ("LINEBELOW", (0, 0), (-1, 0), 0.4, black),
    ("LINEBELOW", (0, -1), (-1, -1), 0.8, black),
]
SPACES = [("TOPPADDING", 1.1), ("BOTTOMPADDING", 1.6), ("LEFTPADDING", PADDING), ("RIGHTPADDING", PADDING)]
VALIGN = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("VALIGN", (0, 0), (-1, 0), "BOTTOM")]
Token = dict[str, Any]


class Document(BaseDocTemplate):
    """A4 pages with numbers, and an outline of the headings; no date and no random name in the file."""

    def __init__(self, file: Path, title: str):
        super().__init__(str(file), pagesize=A4, title=title, author="calm", invariant=1)
        frame = Frame(MARGIN, MARGIN, WIDTH, HEIGHT, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)
        self.addPageTemplates(PageTemplate(frames=[frame], onPage=self.draw_footer))

    def draw_footer(self, canvas: Canvas, document: BaseDocTemplate) -> None:
        """Title and page number at the foot of a page."""
        canvas.setFont(FONT, 7)
        canvas.drawString(MARGIN, 10 * mm, self.title)
        canvas.drawRightString(A4[0] - MARGIN, 10 * mm, str(document.page))

    def afterFlowable(self, flowable: Flowable) -> None:
        """Enter a heading in the outline."""
        if level := getattr(flowable, "outline_level", None):
            self.canv.addOutlineEntry(flowable.getPlainText(), flowable.anchor, max(level - 2, 0), closed=level == 2)


def register_fonts() -> None:
    """DejaVu Sans, which comes with matplotlib and has every sign that the page needs."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (*FACES, MONO):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(FONT, *FACES)


def plain(tokens: Iterable[Token]) -> str:
    """The text of inline tokens without their markup."""
    return "".join(token.get("raw", "") + plain(token.get("children", ())) for token in tokens)


def inline(tokens: Iterable[Token]) -> str:
    """Inline tokens in ReportLab's markup."""
    return "".join(inline_token(token) for token in tokens)


def inline_token(token: Token) -> str:
    """One of them; a link to a file beside the page is shown as its name."""
    match token["type"]:
        case "strong":
            return f"<b>{inline(token['children'])}</b>"
        case "emphasis":
            return f"<i>{inline(token['children'])}</i>"
        case "codespan":
            return f'<font face="{MONO}" size="-1">{escape(token["raw"])}</font>'
        case "link" if token["attrs"]["url"].startswith(("#", "http")):
            return f'<a href={quoteattr(token["attrs"]["url"])} color="#1f4e79">{inline(token["children"])}</a>'
        case _:
            return escape(plain([token]))


def heading(token: Token) -> Paragraph:
    """A heading that links and the outline lead to."""
    text, level = plain(token["children"]), token["attrs"]["level"]
    paragraph = Paragraph(f'<a name="{slug(text)}"/>{inline(token["children"])}', HEADINGS[level])
    paragraph.outline_level, paragraph.anchor = level, slug(text)
    return paragraph


def picture(token: Token, folder: Path) -> Image:
    """A figure as wide as it was drawn, smaller only if it would not fit."""
    path = folder / token["attrs"]["url"]
    width, height = (side * mm for side in printed_size(path))
    scale = min(1.0, WIDTH / width, TALLEST / height)
    return Image(str(path), width=scale * width, height=scale * height, mask=None)  # matplotlib's pictures are opaque


def text_width(cell: Token) -> tuple[float, float]:
    """What a cell takes on one line, and the least that it needs: its longest word."""
    text = plain(cell["children"])
    whole, *words = (pdfmetrics.stringWidth(part, BOLD, CELL) + 2 * PADDING + 1 for part in (text, *text.split()))
    return whole, min(max(words, default=0.0), LONGEST_WORD)


def column_widths(rows: Sequence[Sequence[Token]]) -> list[float]:
    """Every column as wide as its longest cell; if that is wider than the page, the widest columns are made narrower.

    No column gets less than its longest word, unless the words alone are too wide.
    """
    sizes = [[text_width(cell) for cell in column] for column in zip(*rows, strict=True)]
    wanted = [max(whole for whole, _ in column) for column in sizes]
    least = [max(word for _, word in column) for column in sizes]
    for widest in np.linspace(max(wanted), 0, STEPS):
        widths = [min(high, max(low, widest)) for low, high in zip(least, wanted, strict=True)]
        if sum(widths) <= WIDTH:
            return widths
    return [width * WIDTH / sum(least) for width in least]


def table(token: Token) -> Table:
    """A table with rules above and below, as wide as it needs to be; its head is repeated on every page."""
    head, body = token["children"]
    rows = [head["children"], *(row["children"] for row in body["children"])]
    cells = [[Paragraph(inline(cell["children"]), cell_style(cell)) for cell in row] for row in rows]
    flowable = Table(cells, column_widths(rows), repeatRows=1, hAlign="LEFT", spaceBefore=4, spaceAfter=6)
    flowable.setStyle([*RULES, *((name, (0, 0), (-1, -1), space) for name, space in SPACES), *VALIGN])
    return flowable


def cell_style(cell: Token) -> ParagraphStyle:
    """Heads are bold, numbers stand to the right."""
    face, side = BOLD if cell["attrs"]["head"] else FONT, TA_RIGHT if cell["attrs"]["align"] == "right" else TA_LEFT
    return ParagraphStyle("cell", fontName=face, fontSize=CELL, leading=1.25 * CELL, alignment=side)


def flowables(token: Token, folder: Path) -> list[Flowable]:
    """What one block of the page becomes."""
    match token["type"]:
        case "heading":
            return [heading(token)]
        case "paragraph" if token["children"][0]["type"] == "image":
            return [picture(token["children"][0], folder)]
        case "paragraph":
            return [Paragraph(inline(token["children"]), BODY)]
        case "table":
            return [table(token)]
        case "list":
            items = (item["children"][0] for item in token["children"])
            return [Paragraph(inline(item["children"]), BULLET, bulletText="•") for item in items]
        case "blank_line":
            return []
        case kind:
            raise ValueError(f"the PDF has no form for a block of type {kind!r}")


def story(text: str, folder: Path) -> list[Flowable]:
    """The page as what ReportLab lays out.

    From a heading to the first figure or table below it nothing is torn apart, nor is a table and the lines above it,
    if all that fits on a page.
    """
    tokens = mistune.create_markdown(renderer=None, plugins=["table"])(text)
    groups: list[list[Flowable]] = [[]]
    for flowable in (each for token in tokens for each in flowables(token, folder)):
        if is_heading(flowable) and not all(map(is_heading, groups[-1])):
            groups.append([])
        groups[-1].append(flowable)
        if isinstance(flowable, Image | Table):
            groups.append([])
    return [KeepTogether(group) for group in groups if group]


def is_heading(flowable: Flowable) -> bool:
    """Whether it was made by `heading`."""
    return hasattr(flowable, "outline_level")


def write_pdf(text: str, folder: Path, file: Path) -> None:
    """Write a page in Markdown as PDF; images are read from `folder`. The same input gives the same bytes."""
    register_fonts()
    Document(file, title_of(text)).build(story(text, folder))
