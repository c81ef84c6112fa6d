"""What CalM is compared with."""

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from calm.config.base import BlockConfig, Config, Share


class VARConfig(Config):
    """Search space of the ridge vector autoregression."""

    orders: tuple[PositiveInt, ...] = (1, 2, 4, 8)
    penalties: tuple[PositiveFloat, ...] = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)


class POCOConfig(BlockConfig):
    """POCO, population-conditioned forecaster (App. B)."""

    width: PositiveInt = 128
    latents: PositiveInt = 8
    layers: NonNegativeInt = 1  # of attention among the latents
    heads: PositiveInt = 16  # there; one where latents read neurons or neurons read latents
    head_width: PositiveInt = 64
    hidden: PositiveInt = 1024  # of the map from context to horizon
    compression: PositiveInt = 8  # frames per token
    ffn_dropout: Share = 0.2
    dropout: Share = 0.4
    longest_period: PositiveFloat = 100.0  # frames; of the rotary positions
    # Frames of the simulation: all that it can forecast; of other recordings, ForecastConfig's.
    horizon: PositiveInt = 24


class TCNConfig(Config):
    """Temporal convolutional network (App. B)."""

    width: PositiveInt = 256
    layers: PositiveInt = 5  # the dilation doubles from one to the next
    kernel: PositiveInt = 5
    dropout: Share = 0.1


class PatchTSTConfig(BlockConfig):
    """PatchTST (App. B)."""

    patch: PositiveInt = 8  # frames
    stride: PositiveInt = 4  # frames
    width: PositiveInt = 128
    layers: PositiveInt = 3
    heads: PositiveInt = 8
    ffn: PositiveInt = 256  # the paper does not give it; the default of NeuralForecast
    dropout: Share = 0.1
    horizon: PositiveInt = 20  # frames of the simulation forecast at once, not in the paper; else ForecastConfig's


class ITransformerConfig(BlockConfig):
    """iTransformer (App. B)."""

    width: PositiveInt = 64
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    ffn: PositiveInt = 2048  # the paper does not give it; the default of NeuralForecast
    dropout: Share = 0.1
    horizon: PositiveInt = 20  # frames of the simulation forecast at once, not in the paper; else ForecastConfig's


class RidgeDecoderConfig(Config):
    """Search space of GLM and RRR: ridge on the traces of the newest frames (App. B)."""

    lags: PositiveInt = 5  # frames, the present one included
    look_ahead: NonNegativeInt = 0  # frames after the present one that are seen as well; the paper has none
    penalties: tuple[NonNegativeFloat, ...] = (1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2)  # the paper's upper end is garbled


class TCNDecoderConfig(Config):
    """Temporal convolutional network as a decoder (App. B)."""

    width: PositiveInt = 64
    layers: PositiveInt = 4  # the dilation doubles from one to the next
    kernel: PositiveInt = 5
    look_ahead: NonNegativeInt = 0  # frames after the present one that are seen as well; the paper has none
    dropout: Share = 0.2


class POYOConfig(Config):
    """POYO+, the official implementation (App. B)."""

    width: PositiveInt = 128
    head_width: PositiveInt = 64
    latents: PositiveInt = 32  # in each latent step
    latent_step: PositiveFloat = 0.125  # s
    depth: PositiveInt = 4
    heads: PositiveInt = 8
    ffn_dropout: Share = 0.2
    linear_dropout: Share = 0.4
    attention_dropout: Share = 0.2
    window: PositiveFloat = 1.0  # s of a stretch that it reads at once; the paper does not give it
