"""calm: the reproducible companion to CalM, a self-supervised foundation model for calcium imaging."""

import importlib
from importlib import metadata
from typing import Any

from calm.errors import CalmError

OLDEST_TORCH = (2, 8)
USED = {  # where each name is, which is loaded when it is used: torch and pynwb take seconds
    "CalM": "calm.model",
    "explore": "calm.paper.plots.explore",
    "from_arrays": "calm.data.readers.arrays",
    "inspect": "calm.data.contents",
    "load_pretrained": "calm.weights.pretrained",
    "load_sessions": "calm.data.reading",
    "plot_forecast": "calm.paper.plots.forecast",
    "prepare": "calm.data.preparation",
}
__all__ = [
    "CalM",
    "CalmError",
    "explore",
    "from_arrays",
    "inspect",
    "load_pretrained",
    "load_sessions",
    "plot_forecast",
    "prepare",
]


def check_torch(version: str) -> None:
    """Refuse a torch that is too old.

    Raises:
        CalmError: it is older than the oldest that calm is tested with.
    """
    if tuple(int(number) for number in version.split("+")[0].split(".")[:2]) < OLDEST_TORCH:
        raise CalmError(f"calm needs torch {'.'.join(map(str, OLDEST_TORCH))} or newer, this is {version}: upgrade it.")


check_torch(metadata.version("torch"))  # as it was installed, without loading it


def __getattr__(name: str) -> Any:
    """What a user imports, loaded when it is used."""
    if name in USED:
        return getattr(importlib.import_module(USED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
