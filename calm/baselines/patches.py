"""Continuous patches: the layers of CalM's transformer on the traces themselves, with no quantizer and no tokens.

The authors' successor of CalM (CAPT, arXiv 2607.23258) goes this way: a linear map reads a patch, a few frames of one
neuron, and the next patch is predicted by squared error. Its code is not public: this is built from CalM's own layers.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from calm.config.models import PatchesConfig
from calm.errors import CalmError
from calm.models.interfaces import BOUND, Network, WindowBatch
from calm.models.layers import Cache, init_weights
from calm.models.loadings import Loadings
from calm.models.transformer import DualAxisLayer, KnowsLoadings, before, random_block


class ContinuousPatches(KnowsLoadings, Network):
    """Predicts the next patch of every neuron from the patches of all of them so far; trained on whole trials.

    Raises:
        CalmError: the context is not a whole number of patches.
    """

    def __init__(self, config: PatchesConfig, context: int, neurons: Mapping[str, int]):
        if context % config.patch:
            raise CalmError(
                f"A context of {context} frames ends within a patch of {config.patch}: change `context` or `patch`."
            )
        super().__init__(config, context, window=None)
        self.index = {name: place for place, name in enumerate(neurons)}
        self.embed = nn.Linear(config.patch, config.width)
        self.layers = nn.ModuleList(DualAxisLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.out = nn.Linear(config.width, config.patch)
        init_weights(self, 3 * config.layers)
        self.neuron_embeddings = nn.ParameterList(
            torch.randn(count, config.width) * config.embedding_sd for count in neurons.values()
        )
        self.session_embeddings = nn.ParameterList(torch.zeros(config.width) for _ in neurons)
        self.loadings = Loadings(config.width, config.loadings, config.loadings_dropout)
        for count in neurons.values():
            self.loadings.add_session(count)

    def forward(
        self, session: str, patches: Float[Tensor, "batch neuron token channel"], caches: list[Cache] | None = None
    ) -> Float[Tensor, "batch neuron token channel"]:
        """The patch after each patch, as changes from its last frame; with caches, `patches` holds the newest only."""
        change = self.out(self.features(session, patches, caches)).movedim(0, 2)
        return (patches[..., -1:] + change).clamp(-BOUND, BOUND)

    def features(
        self, session: str, patches: Float[Tensor, "batch neuron token channel"], caches: list[Cache] | None = None
    ) -> Float[Tensor, "token batch neuron width"]:
        """What the layers make of patches, after the last norm."""
        place = self.index[session]
        who = self.neuron_embeddings[place] + self.loadings.of(place) + self.session_embeddings[place]
        x = self.embed(patches.movedim(2, 0)) + who
        for layer, cache in zip(self.layers, caches or [None] * len(self.layers), strict=True):
            x = layer(x, cache)
        return self.norm(x)

    def cut(self, traces: Float[Tensor, "batch neuron frame"]) -> Float[Tensor, "batch neuron token channel"]:
        """Whole patches, from the first frame on; their channels are their frames."""
        whole = traces.shape[-1] // self.config.patch * self.config.patch
        return traces[..., :whole].unflatten(-1, (-1, self.config.patch))

    def training_loss(self, batch: WindowBatch) -> dict[str, Float[Tensor, ""]]:
        """Mean squared error of each next patch, given the true ones or, on a share of the steps, some of its own."""
        patches = inputs = self.cut(batch.traces)
        if torch.rand(()) < self.config.scheduled_sampling:
            with torch.no_grad():
                inputs = self.feed_back(patches, self(batch.session, patches))
        return {"loss": F.mse_loss(self(batch.session, inputs)[:, :, :-1], patches[:, :, 1:])}

    def feed_back(
        self,
        patches: Float[Tensor, "batch neuron token channel"],
        predicted: Float[Tensor, "batch neuron token channel"],
    ) -> Float[Tensor, "batch neuron token channel"]:
        """Scheduled sampling as of CalM (Eq. 12): a random block of the input becomes the model's own predictions."""
        block = random_block(patches.shape[2], self.config.block)
        mixed = patches.clone()
        mixed[:, :, block] = predicted[:, :, before(block)]
        return mixed

    def forecast(
        self, session: str, contexts: Float[Tensor, "batch neuron context"], horizon: int
    ) -> Float[Tensor, "batch neuron horizon"]:
        """Patch by patch, each prediction fed back; in z-scores, and kept finite where a rollout diverges."""
        newest, caches, rolled = self.cut(contexts[..., -self.context :]), [Cache() for _ in self.layers], []
        for _ in range(0, horizon, self.config.patch):
            newest = self(session, newest, caches)[:, :, -1:]
            rolled.append(newest)
        return torch.cat(rolled, dim=2).flatten(2)[..., :horizon]
