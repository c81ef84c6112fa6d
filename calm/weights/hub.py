"""Weights that somebody shares: a repository of the Hugging Face Hub that holds the folder of `Pretrained.save`."""

import re
from pathlib import Path

from calm.errors import CalmError, one_line
from calm.storage import CHECKSUM, MANIFEST, WEIGHTS


def is_repository(name: str | Path) -> bool:
    """Whether this looks like `owner/name`, and no such folder could be meant."""
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name))) and not Path(name).parent.exists()


def download_weights(repository: str, downloads: Path) -> Path:
    """The folder of a repository's weights, downloaded where they are not yet or were changed.

    Args:
        repository: `owner/name`.
        downloads: where the Hub's library keeps what it downloads.

    Raises:
        CalmError: the Hub's library is not installed; there is no such repository, or it cannot be reached.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CalmError(
            f'{repository} is no folder here; for one on the Hugging Face Hub, `pip install -e ".[hub]"` first.'
        ) from error
    try:
        return Path(snapshot_download(repository, cache_dir=downloads, allow_patterns=[WEIGHTS, MANIFEST, CHECKSUM]))
    except (OSError, ValueError) as error:
        raise CalmError(
            f"{repository} is no folder here, and cannot be had from the Hugging Face Hub: check its name and the net"
            f" ({one_line(error, 200)})."
        ) from error
