"""Behaviour heads on frozen features, linear and gated (Eq. 15, 16; Sec. 3.4), with bank rows for every session."""

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from calm.config.models import HeadConfig
from calm.errors import CalmError
from calm.models.interfaces import Trainable, recorded_error

# sd of the outputs at first, whatever the number of neurons. The paper does not give it. Near 0, the mean behaviour, a
# head has less to unlearn (validation error of a synthetic session: linear 0.606, with 1.0 0.639; GLU 0.607 and 0.611).
START = 0.1
NEURONS = 32  # at which the sum over neurons is what the authors' is


@dataclasses.dataclass  # not frozen: Fabric moves it to the device field by field
class FeatureBatch:
    """Trials of one session with equally many tokens: their features, and the behaviour on the same frames.

    Attributes:
        session: its name.
        features: of all its neurons, in any precision.
        behaviour: in z-scores; NaN where it was not recorded.
    """

    session: str
    features: Float[Tensor, "token batch neuron channel"]
    behaviour: Float[Tensor, "batch frame behaviour"]


class TemporalConvolution(nn.Module):
    """A convolution over the frames of each behaviour by itself (depth-wise), which starts as the identity.

    Without the bias of the authors' code: the head has one.

    Args:
        behaviours: number of behavioural channels.
        taps: frames that it reads.
        ahead: frames from the present one to the newest that it reads; where it is negative, the present one is not
            read, and the convolution starts as a delay.

    Raises:
        CalmError: it would read later frames only.
    """

    def __init__(self, behaviours: int, taps: int, ahead: int):
        super().__init__()
        if ahead >= taps:
            raise CalmError(f"{taps} taps that end {ahead} frames ahead leave the present one out: choose more `taps`.")
        self.ahead = ahead
        start = torch.zeros(behaviours, 1, taps)
        start[..., -1 - max(ahead, 0)] = 1
        self.weight = nn.Parameter(start)

    def forward(self, values: Float[Tensor, "batch frame behaviour"]) -> Float[Tensor, "batch frame behaviour"]:
        """Each frame from the `taps` frames that end `ahead` of it; before and after the trial there are zeros."""
        behaviours, _, taps = self.weight.shape
        padded = F.pad(values.transpose(1, 2), (taps - 1 - self.ahead, self.ahead))  # by less than 0: cut
        return F.conv1d(padded, self.weight, groups=behaviours).transpose(1, 2)


class BehaviourHead(Trainable):
    """What both heads share: a neuron bank, outputs for the frames of each token, the temporal convolution.

    A token's features know its last frame, and so does the output on its first, which is up to `window - 1` frames
    ahead. The convolution reaches as much further as makes `look_ahead` in all: no output knows a later frame. Calcium
    lags behind behaviour, so that this matters, and other decoders are to be compared at the same `look_ahead`.

    The sum over neurons is not divided by their number in the authors' code. Here it is, so that a step of the
    optimizer, which is about equal for all weights, moves the outputs as much for 30 neurons as for 1,000.

    Args:
        config: rank, taps, look-ahead and dropout.
        channels: of the features.
        window: frames per token.
        behaviours: number of behavioural channels.
        neurons: number of neurons of each session; each has its own bank rows, so the cost of a step does not grow
            with the corpus, and a step on one session leaves the rows of the others alone.
    """

    session_parameters = ("bank.",)

    def __init__(self, config: HeadConfig, channels: int, window: int, behaviours: int, neurons: Mapping[str, int]):
        super().__init__()
        self.config, self.window, self.behaviours = config, window, behaviours
        self.index = {session: number for number, session in enumerate(neurons)}
        outputs = window * behaviours
        scales = {count: START * (count / config.rank) ** 0.5 / NEURONS for count in neurons.values()}
        rows = [torch.randn(count, outputs, config.rank) * scales[count] for count in neurons.values()]
        self.bank = nn.ParameterList(map(nn.Parameter, rows))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.smooth = TemporalConvolution(behaviours, config.taps, config.look_ahead - (window - 1))

    def read_out(
        self,
        features: Float[Tensor, "token batch neuron channel"],
        bank: Float[Tensor, "neuron output rank"],
    ) -> Float[Tensor, "token batch output"]:
        """The sum over neurons, before the bias."""
        raise NotImplementedError

    def forward(
        self, session: str, features: Float[Tensor, "token batch neuron channel"]
    ) -> Float[Tensor, "batch frame behaviour"]:
        """Behaviour on the frames of the tokens, in z-scores; the neurons are in the order of the bank's rows."""
        rows = self.bank[self.index[session]]
        outputs = self.read_out(features.to(self.bias.dtype), rows * (NEURONS / len(rows))) + self.bias
        frames = outputs.unflatten(-1, (self.behaviours, self.window)).permute(1, 0, 3, 2).flatten(1, 2)
        return self.smooth(frames)

    def training_loss(self, batch: FeatureBatch) -> dict[str, Float[Tensor, ""]]:
        """Mean squared error over what was recorded, under `loss`."""
        return {"loss": recorded_error(self(batch.session, batch.features), batch.behaviour)}

    def count_predictions(self, batch: FeatureBatch) -> int:
        """Number of recorded values."""
        return int(batch.behaviour.isfinite().sum())


class LinearHead(BehaviourHead):
    """y[t,o] = sum_n sum_r (sum_c h[n,t,c] B1[o,r,c]) B2[o,n,r] + b[o] (Eq. 15); it has no dropout."""

    def __init__(self, config: HeadConfig, channels: int, window: int, behaviours: int, neurons: Mapping[str, int]):
        super().__init__(config, channels, window, behaviours, neurons)
        self.mixing = nn.Parameter(torch.randn(window * behaviours, config.rank, channels) * channels**-0.5)

    def read_out(
        self,
        features: Float[Tensor, "token batch neuron channel"],
        bank: Float[Tensor, "neuron output rank"],
    ) -> Float[Tensor, "token batch output"]:
        """B1 and B2 are multiplied first: the map from features to outputs is then one product, `rank` times less."""
        weights = torch.einsum("nor,orc->nco", bank, self.mixing)
        return features.flatten(2) @ weights.flatten(0, 1)


class GLUHead(BehaviourHead):
    """z[n,t] = Dropout((h B3) * GELU(h B4)), y[t,o] = sum_n sum_r z[n,t,o,r] B5[o,n,r] + b[o] (Eq. 16)."""

    def __init__(self, config: HeadConfig, channels: int, window: int, behaviours: int, neurons: Mapping[str, int]):
        super().__init__(config, channels, window, behaviours, neurons)
        hidden = window * behaviours * config.rank
        self.values = nn.Parameter(torch.randn(channels, hidden) * channels**-0.5)
        self.gates = nn.Parameter(torch.randn(channels, hidden) * channels**-0.5)
        self.drop = nn.Dropout(config.dropout)

    def read_out(
        self,
        features: Float[Tensor, "token batch neuron channel"],
        bank: Float[Tensor, "neuron output rank"],
    ) -> Float[Tensor, "token batch output"]:
        """Each neuron's gated values, weighed by its bank row."""
        gated = self.drop((features @ self.values) * F.gelu(features @ self.gates))
        return (gated * bank.flatten(1)).sum(dim=2).unflatten(-1, bank.shape[1:]).sum(dim=-1)
