"""The name under which a result is kept: a hash of all that it was made from."""

import hashlib
import json
from collections.abc import Sequence

from calm.config import Config


def stage_key(
    name: str,
    configs: Sequence[Config],
    inputs: Sequence[str],
    seed: int,
    version: int,
) -> str:
    """Name and hash of everything that a stage's result depends on: configuration, input, seed and version.

    `version` is that of the stage's code: whoever changes what it computes raises it.
    """
    described = [config.model_dump(mode="json") for config in configs]
    text = json.dumps([described, list(inputs), seed, version], sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
