"""Markdown to one HTML page that holds its images and prints on A4."""

import base64
import re
from importlib import resources
from pathlib import Path

import mistune
from PIL import Image

DPI = 300


def slug(heading: str) -> str:
    """Anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def title_of(text: str) -> str:
    """The first heading of a page in Markdown."""
    return text.split("\n", 1)[0].removeprefix("# ")


def printed_size(image: Path) -> tuple[float, float]:
    """Width and height of a PNG on paper, in mm; one that does not tell is taken to be as fine as calm's are."""
    with Image.open(image) as picture:
        dots_per_inch = picture.info.get("dpi", (DPI, DPI))
        width, height = (25.4 * pixels / dots for pixels, dots in zip(picture.size, dots_per_inch, strict=True))
        return width, height


class PageRenderer(mistune.HTMLRenderer):
    """HTML with anchors at headings and images inside."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def heading(self, text: str, level: int, **attributes: str) -> str:
        """A heading that can be linked to."""
        return f'<h{level} id="{slug(text)}">{text}</h{level}>\n'

    def paragraph(self, text: str) -> str:
        """A paragraph, or the figure that it consists of."""
        tag = "figure" if text.startswith("<img") else "p"
        return f"<{tag}>{text}</{tag}>\n"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """An image as wide as it was drawn, in the page itself."""
        data = base64.b64encode((self.folder / url).read_bytes()).decode()
        width, _ = printed_size(self.folder / url)
        return f'<img alt="{mistune.escape(text)}" style="width: {width:.1f}mm" src="data:image/png;base64,{data}">'


def web_page(text: str, folder: Path) -> str:
    """The whole page; images are read from `folder`."""
    body = mistune.create_markdown(renderer=PageRenderer(folder), plugins=["table"])(text)
    style = resources.files("calm.paper.report").joinpath("page.css").read_text()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{mistune.escape(title_of(text))}</title>\n<style>\n{style}</style>\n</head>\n"
        f'<body>\n<main class="calm-report">\n{body}</main>\n</body>\n</html>\n'
    )
