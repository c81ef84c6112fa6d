"""A trained quantizer and transformer as a folder: weights, configuration, what they know, and checksums; no code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from calm.data.session import Preparation
from calm.devices import best_device
from calm.errors import CalmError
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.profile import Profile
from calm.storage import is_stored, load_checkpoint, save_checkpoint
from calm.training.stages import Trained

FORMAT = 2  # raised with any change to what is in a folder
Stages = tuple[Profile, Trained[NeuralQuantizer], Trained[DualAxisTransformer], Mapping[str, Preparation]]


def save_stages(
    folder: Path,
    profile: Profile,
    quantizer: Trained[NeuralQuantizer],
    transformer: Trained[DualAxisTransformer],
    preparations: Mapping[str, Preparation],
) -> None:
    """Write a folder, whole or not at all; one that is there is replaced.

    Raises:
        CalmError: the folder cannot be written, or holds something else.
    """
    if folder.exists() and not is_stored(folder) and any(folder.iterdir()):
        raise CalmError(f"{folder} holds something else than a model: choose a folder that is new or empty.")
    tensors: dict[str, Tensor] = {}
    manifest: dict[str, Any] = {"format": FORMAT, "sessions": transformer.model.neuron_counts}
    manifest["profile"] = profile.model_dump(mode="json")
    manifest["preparations"] = {name: each.model_dump() for name, each in preparations.items()}
    for stage, trained in (("quantizer", quantizer), ("transformer", transformer)):
        weights = trained.model.state_dict()
        tensors |= {f"{stage}.{name}": value.detach().clone() for name, value in weights.items()}
        manifest[stage] = {"key": trained.key, "history": trained.history.to_dict("list")}
    save_checkpoint(folder, tensors, manifest)


def load_stages(folder: Path) -> Stages:
    """Read what `save_stages` wrote; checksums are verified.

    Raises:
        CalmError: there is nothing, it is damaged, or another version of calm saved it.
    """
    tensors, manifest = load_checkpoint(folder)
    if manifest.get("format") != FORMAT:
        raise CalmError(f"{folder} holds no model that this version of calm can read: train it again.")

    def filled(stage: str, model: nn.Module) -> Trained[Any]:
        about = manifest[stage]
        model.load_state_dict(of_stage(tensors, stage))
        return Trained(model.to(best_device()).eval(), pd.DataFrame(about["history"]), about["key"])

    profile = Profile.model_validate(manifest["profile"])
    quantizer = filled("quantizer", NeuralQuantizer(profile.quantizer))
    vectors = quantizer.model.codebook.vectors.detach().cpu()
    transformer = DualAxisTransformer(profile.dat, vectors, manifest["sessions"])
    preparations = {name: Preparation(**numbers) for name, numbers in manifest["preparations"].items()}
    return profile, quantizer, filled("transformer", transformer), preparations


def of_stage(tensors: Mapping[str, Tensor], stage: str) -> dict[str, Tensor]:
    """Of the tensors of a file, those of one stage, under the names that its model gives them."""
    prefix = f"{stage}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
