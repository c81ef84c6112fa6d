"""Features of continuous patches, for the same heads that CalM has."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

from calm.baselines.patches import ContinuousPatches
from calm.training.features import Extractor
from calm.training.stages import Trained


@dataclasses.dataclass(frozen=True, eq=False)
class PatchFeatures(Extractor):
    """What the layers make of continuous patches, after the last norm, for the heads that CalM has.

    Attributes:
        network: that knows the sessions.
    """

    network: Trained[ContinuousPatches]

    @property
    def key(self) -> str:
        """That of the network."""
        return self.network.key

    @property
    def window(self) -> int:
        """Frames per patch."""
        return self.network.model.config.patch

    @property
    def channels(self) -> int:
        """Width of the layers."""
        return self.network.model.config.width

    @torch.no_grad()
    def extract(
        self, session: str, trace: Float[np.ndarray, "neuron frame"]
    ) -> Float16[Tensor, "token neuron channel"]:
        """Traces -> patches -> activations."""
        model = self.network.model
        patches = model.cut(torch.from_numpy(trace[None]).to(model.out.bias.device))
        return model.features(session, patches)[:, 0].half()
