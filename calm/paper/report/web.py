"""Markdown to one HTML page that holds its images and prints on A4."""

import base64
import html
import io
import re
from importlib import resources
from pathlib import Path

from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin
from PIL import Image

DRAWN, SHOWN, SCREEN = 300, 150, 96  # dots per inch: of calm's PNG, of their copies in the page, of a CSS pixel
COLOURS = 64  # of the copies; keeps the page small


def slug(heading: str) -> str:
    """Anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def palette_png(picture: Image.Image) -> bytes:
    """A picture as PNG of COLOURS colours."""
    data = io.BytesIO()
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
    return data.getvalue()


def few_colours(png: bytes) -> bytes:
    """The same PNG in COLOURS colours."""
    with Image.open(io.BytesIO(png)) as picture:
        return palette_png(picture)


def image_tag(path: Path, title: str) -> str:
    """A smaller copy of a PNG as HTML, shown as large as it was drawn."""
    with Image.open(path) as picture:
        width, height = picture.size
        size = (max(1, width * SHOWN // DRAWN), max(1, height * SHOWN // DRAWN))
        copy = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    source = base64.b64encode(palette_png(copy)).decode()
    return f'<img alt="{html.escape(title)}" width="{width * SCREEN // DRAWN}" src="data:image/png;base64,{source}">'


def web_page(text: str, folder: Path) -> str:
    """The whole page. HTML in the text is shown as text; images are read from `folder` and nowhere else."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.use(anchors_plugin, max_level=3, slug_func=slug)
    images = {path.name: path for path in folder.glob("*.png")}

    def image(renderer, tokens, index, options, environment):
        name, title = tokens[index].attrs["src"], tokens[index].content
        return image_tag(images[name], title) if name in images else html.escape(title)

    parser.add_render_rule("image", image)
    style = resources.files("calm.paper.report").joinpath("page.css").read_text(encoding="utf-8")
    title = html.escape(text.split("\n", 1)[0].removeprefix("# "))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n"
        f'<body>\n<main class="calm-report">\n{parser.render(text)}</main>\n</body>\n</html>\n'
    )
