"""The figures and tables of the paper, in its order, and where our own further results belong among them."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

import yaml


@dataclasses.dataclass(frozen=True)
class Item:
    """A figure or table of the paper.

    Attributes:
        name: of its files in `figures/<profile>/`, as `fig3b`.
        title: in a few words.
        caption: what it shows, and what to look at.
        notebook: that makes it; empty for tables that the report renders from the settings.
        settings: the sections of a profile that such a table shows, by model.
        scored: whether its values are results; those of examples and counts are not.
    """

    name: str
    title: str
    caption: str
    notebook: str = ""
    settings: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    scored: bool = True

    @property
    def label(self) -> str:
        """As the paper calls it: Fig. 3B, Table 7."""
        return f"Fig. {self.name[3:].upper()}" if self.name.startswith("fig") else f"Table {self.name[5:]}"

    @property
    def heading(self) -> str:
        """Label and title."""
        return f"{self.label}. {self.title}"


TEXTS = yaml.safe_load((resources.files("calm.paper.report") / "items.yaml").read_text(encoding="utf-8"))
ITEMS = tuple(Item(name, **texts) for name, texts in TEXTS["paper"].items())


def title_and_caption(extra: str) -> tuple[str, str]:
    """Of one of our own results; its name and nothing where `items.yaml` says no more."""
    suffix = extra.split("_", 1)[-1]
    texts = TEXTS["beyond"].get(extra) or TEXTS["beyond"].get(suffix)
    return (texts["title"], texts["caption"]) if texts else (suffix.replace("_", " ").capitalize(), "")


def item_of(extra: str) -> str:
    """The item that a result of our own is put after, as `fig3b` for `fig3b_cost`; empty beyond the paper.

    `fig6_layer`, which names a figure but none of its panels, is put after the last of them.
    """
    first = extra.split("_")[0]
    panels = [item.name for item in ITEMS if item.name == first or (first + "a" <= item.name <= first + "z")]
    return panels[-1] if panels else ""


def extras_of(item: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that are put after an item, sorted; with an empty `item`, those beyond the paper."""
    return sorted(set(names) - {each.name for each in ITEMS} - {name for name in names if item_of(name) != item})
