"""calm: the reproducible companion to CalM, a self-supervised foundation model for calcium imaging."""

from typing import Any

import torch

from calm.errors import CalmError

OLDEST_TORCH = (2, 8)


def check_torch(version: str) -> None:
    """Refuse a torch that is too old.

    Raises:
        CalmError: it is older than the oldest that calm is tested with.
    """
    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < OLDEST_TORCH:
        raise CalmError(f"calm needs torch {'.'.join(map(str, OLDEST_TORCH))} or newer, this is {version}: upgrade it.")


check_torch(torch.__version__)

from calm.data.descriptions import load_sessions  # noqa: E402  (torch is checked before anything uses it)
from calm.data.session import prepare  # noqa: E402


def __getattr__(name: str) -> Any:
    """`CalM` when it is asked for: it brings all of training, which reading files and drawing figures do not need."""
    if name == "CalM":
        from calm.model import CalM

        return CalM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["CalM", "CalmError", "load_sessions", "prepare"]
