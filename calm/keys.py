"""The name under which a result is kept: a hash of all that it was made from."""

import ast
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from calm.config import Config


@functools.cache
def code_hash(modules: tuple[str, ...]) -> str:
    """Hash of the modules that training runs through, comments and layout apart."""
    folder = Path(__file__).parent
    trees = [ast.dump(ast.parse((folder / f"{module}.py").read_text())) for module in modules]
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()


def stage_key(
    name: str,
    configs: Sequence[Config],
    inputs: Sequence[str],
    seed: int,
    modules: tuple[str, ...],
) -> str:
    """Name and hash of everything that a stage's result depends on: configuration, input, seed and code."""
    described = [config.model_dump(mode="json") for config in configs]
    text = json.dumps([described, list(inputs), seed, code_hash(modules)], sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
