"""iTransformer: each neuron's whole context is one token, and attention is among neurons (Liu et al., ICLR 2024)."""

from collections.abc import Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from calm.config.rivals import ITransformerConfig
from calm.models.interfaces import BlockNetwork, instance_scale


def encoder_layer(config: ITransformerConfig) -> nn.TransformerEncoderLayer:
    """Attention and feed-forward map, each added to its input and layer-normalised after."""
    # Its attention starts Glorot-uniform with zero biases; the official model starts like any `nn.Linear`.
    return nn.TransformerEncoderLayer(
        config.width, config.heads, config.ffn, config.dropout, activation=F.gelu, batch_first=True
    )


class ITransformer(BlockNetwork):
    """Linear embedding of each neuron's normalised context, an encoder over neurons, and a linear map to the horizon.

    Tokens have no order and no identity, so the numbers of neurons of the sessions are not needed.
    """

    def __init__(self, config: ITransformerConfig, context: int, neurons: Mapping[str, int]):
        super().__init__(config, context)
        self.embed = nn.Linear(context, config.width)
        self.drop = nn.Dropout(config.dropout)
        # Not `nn.TransformerEncoder`: it copies one layer, so that all of them would start with the same weights.
        layers = (encoder_layer(config) for _ in range(config.layers))
        self.encoder = nn.Sequential(*layers, nn.LayerNorm(config.width))
        self.head = nn.Linear(config.width, config.horizon)

    def forward(self, contexts: Float[Tensor, "batch neuron context"]) -> Float[Tensor, "batch neuron horizon"]:
        """The `config.horizon` frames after the context, each neuron in units of its own context until the end."""
        mean, sd = instance_scale(contexts)
        tokens = self.drop(self.embed((contexts - mean) / sd))
        return self.head(self.encoder(tokens)) * sd + mean
