"""The models of the paper, and what differs from it in size only."""

from typing import Literal

import pydantic
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from calm.config.base import AnyConfig, BelowOne, Config, Share


class HeadsConfig(Config):
    """Attention with rotary positions, in which heads share the width evenly, and pairs of channels turn together."""

    width: PositiveInt
    heads: PositiveInt

    @pydantic.model_validator(mode="after")
    def _shared_evenly(self: AnyConfig) -> AnyConfig:
        if self.width % (2 * self.heads):
            raise ValueError(f"`width` {self.width} must be a multiple of twice the `heads`, {2 * self.heads}")
        return self


class QuantizerConfig(HeadsConfig):
    """Neural quantizer (Table 5)."""

    width: PositiveInt = 512
    codes: PositiveInt = 128
    encoder_layers: PositiveInt = 4
    decoder_layers: PositiveInt = 4
    predictor_layers: PositiveInt = 2  # the paper does not give it; the authors' code has 2
    heads: PositiveInt = 4
    window: PositiveInt = 4  # frames per token
    horizons: PositiveInt = 4  # tokens ahead that the causal head predicts
    ema_decay: BelowOne = 0.99
    temperature: tuple[PositiveFloat, PositiveFloat] = (2.5, 0.01)  # Gumbel, from and to
    anneal: NonNegativeFloat = 0.8  # share of the steps over which the temperature falls
    warmup: float = pydantic.Field(0.01, gt=0, lt=1)  # share of them of pure reconstruction, before the codebook exists
    queue: PositiveInt = 10_000  # recent encoder outputs kept for the k-means start and revivals
    revive_every: PositiveFloat = 0.1  # share of the steps
    revive_below: NonNegativeFloat = 0.2  # of the mean usage
    label_smoothing: Share = 0.05
    weight_pearson: NonNegativeFloat = 0.5  # alpha of the reconstruction loss
    weight_embed: NonNegativeFloat = 1.0
    weight_commit: NonNegativeFloat = 0.5
    weight_entropy: NonNegativeFloat = 0.5
    weight_orthogonality: NonNegativeFloat = 1e-3  # the paper gives none
    weight_ar: NonNegativeFloat = 0.5
    weight_align: NonNegativeFloat = 0.5


class DualAxisConfig(HeadsConfig):
    """Layers over time and neurons (Table 6)."""

    width: PositiveInt = 512
    layers: PositiveInt = 6
    heads: PositiveInt = 8
    ffn: PositiveInt = 2048
    dropout: Share = 0.15  # the paper does not give it
    # Of neuron embeddings at the start, nor this. From 1, PyTorch's default, what is learned on few recordings drowns.
    embedding_sd: NonNegativeFloat = 0.02
    # Root mean square of the loadings that are added to neuron embeddings (`calm.models.loadings`); the paper has none.
    loadings: NonNegativeFloat = 0.0
    loadings_dropout: Share = 0.2  # of the training batches have none, so that few trials are enough for a new session
    time_first: bool = False  # the authors' code has time before neurons, the paper neurons before time
    scheduled_sampling: Share = 0.6
    block: PositiveInt = 6  # tokens fed back by scheduled sampling


class DATConfig(DualAxisConfig):
    """Dual-axis transformer on tokens (Table 6)."""

    corruption: Literal["input", "losses"] = "input"  # "losses" is Eq. 14 as printed
    replacement: Share = 0.1
    neighbours: PositiveInt = 12
    weight_sampling: NonNegativeFloat = 1.0  # lambda_SS; read by corruption "losses" only
    weight_replacement: NonNegativeFloat = 1.0  # lambda_NR; read by corruption "losses" only
    weight_expected: NonNegativeFloat = 0.0  # of the squared error of the expected code; the paper has none


class PatchesConfig(DualAxisConfig):
    """The same layers on continuous patches."""

    patch: PositiveInt = 4  # frames


class HeadConfig(Config):
    """Linear and GLU behaviour heads on the frozen transformer (Eq. 15, 16)."""

    rank: PositiveInt = 16  # the paper does not give it
    taps: PositiveInt = 9  # frames of the temporal convolution; the paper does not give it
    # Frames after the present one that are seen. The paper does not give it. In the authors' code the convolution is
    # centred, 4 frames ahead, on top of the 3 after the first frame of a token.
    look_ahead: NonNegativeInt = 7
    dropout: Share = 0.5  # the paper does not give it
