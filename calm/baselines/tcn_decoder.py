"""Temporal convolutional network that reads behaviour: dilated causal convolutions, all neurons as channels (App. B).

The layers are those of the forecasting TCN, and as plain.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from calm.baselines.tcn import CausalLayer, Past
from calm.config import TCNDecoderConfig
from calm.errors import CalmError
from calm.models.interfaces import DecoderNetwork


class TCNDecoder(DecoderNetwork):
    """Behaviour on a frame from the traces up to it; trained on whole trials of one session.

    The paper searches over the weight decay (0, 1e-5, 1e-4); here it is fixed, in `tcn_decoder_fit`, and every network
    is searched over the learning rate (`learning_rates`) instead, so that all have the same number of tries.

    Args:
        config: sizes and dropout.
        sessions: number of neurons of the session.
        behaviours: number of behavioural channels.
        rate: frames per second; the network counts frames only.

    Raises:
        CalmError: more than one session.
    """

    def __init__(self, config: TCNDecoderConfig, sessions: Mapping[str, int], behaviours: int, rate: float):
        if len(sessions) > 1:
            raise CalmError(f"The TCN decodes a single session: train one for each of {', '.join(sessions)}.")
        super().__init__(config, window=None)
        widths = [*sessions.values(), *[config.width] * (config.layers - 1)]
        self.layers = nn.ModuleList(CausalLayer(width, config, 2**depth) for depth, width in enumerate(widths))
        self.head = nn.Conv1d(config.width, behaviours, 1)

    @property
    def receptive_field(self) -> int:
        """Number of frames, the present one included, that a decoded frame depends on."""
        return 1 + sum(layer.reach for layer in self.layers)

    def decode(
        self, session: str, traces: Float[Tensor, "batch neuron frame"]
    ) -> Float[Tensor, "batch frame behaviour"]:
        """Behaviour on every frame, in z-scores; before the trial there are zeros, the mean of every neuron.

        `session` is the one that it was made for.
        """
        x = traces
        for layer in self.layers:
            x = layer(x, Past())
        return self.head(x).transpose(1, 2)
