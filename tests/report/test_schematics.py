"""Schematics show the sizes of a profile, legibly."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch

from calm.paper.plots import use_style
from calm.paper.plots.schematics import DRAWINGS, example, schematic
from calm.profile import load_profile

pytestmark = pytest.mark.usefixtures("drawing")


def drawn(name, profile):
    """The figure with its final layout, its texts and their extents in pixels."""
    use_style()
    figure = DRAWINGS[name](load_profile(profile))
    figure.canvas.draw()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    return figure, texts, [text.get_window_extent() for text in texts]


@pytest.fixture(params=itertools.product(DRAWINGS, ["paper", "quick"]), ids="-".join)
def drawing_of(request):
    return drawn(*request.param)


def test_words_neither_overlap_nor_leave_the_page(drawing_of):
    figure, texts, extents = drawing_of
    page = figure.bbox
    for (one, first), (other, second) in itertools.combinations(zip(texts, extents, strict=True), 2):
        assert not first.overlaps(second), (one.get_text(), other.get_text())
    for text, extent in zip(texts, extents, strict=True):
        inside = page.x0 <= extent.x0 and page.y0 <= extent.y0 and extent.x1 <= page.x1 and extent.y1 <= page.y1
        assert inside, text.get_text()


def test_words_in_a_box_fit_into_it_and_others_do_not_touch_it(drawing_of):
    figure, texts, extents = drawing_of
    boxes = [each for each in figure.axes[0].patches if isinstance(each, FancyBboxPatch)]
    assert len(boxes) > 4
    for (text, extent), box in itertools.product(zip(texts, extents, strict=True), boxes):
        edge = box.get_window_extent()
        within = edge.x0 <= extent.x0 and edge.y0 <= extent.y0 and extent.x1 <= edge.x1 and extent.y1 <= edge.y1
        plain = box.get_edgecolor() == (1, 1, 1, 1)  # drawn as words alone
        assert within or plain or not edge.overlaps(extent), text.get_text()


def words(name, profile):
    return " ".join(text.get_text().replace("\n", " ") for text in drawn(name, profile)[1])


def test_sizes_are_those_of_the_modules():
    assert "128 codes of 512 numbers" in words("quantizer", "paper")
    assert "128 codes of 64 numbers" in words("quantizer", "quick")
    assert "2 causal blocks" in words("quantizer", "quick dat.layers=3")
    assert "3 layers" in words("transformer", "quick dat.layers=3")
    assert "$B_1$: 64 → 12 × 8" in words("heads", "quick")  # three channels on the four frames of a token


def test_axes_of_attention_stand_in_the_order_of_the_settings():
    text = words("transformer", "paper")
    assert text.index("attention over neurons") < text.index("attention over time")
    text = words("transformer", "paper dat.time_first=true")
    assert text.index("attention over time") < text.index("attention over neurons")


def test_the_example_keeps_a_trace_in_windows_whose_kinds_follow_their_level():
    shown = example(4)
    windows = shown.kept.reshape(len(shown.codes), -1, 4)
    of_kinds = [windows[shown.codes == kind] for kind in np.unique(shown.codes)]
    assert all(np.ptp(alike, axis=0).max() == 0 for alike in of_kinds)
    assert np.all(np.diff([alike.mean() for alike in of_kinds]) > 0)
    assert min(np.corrcoef(*pair)[0, 1] for pair in zip(shown.traces, shown.kept, strict=True)) > 0.8


def test_a_schematic_needs_no_font_and_is_the_same_in_every_run():
    first, second = schematic("heads").data, schematic("heads").data
    assert first == second
    assert first.startswith("<svg") or "<svg" in first
    assert "<text" not in first
    assert plt.get_fignums() == []
