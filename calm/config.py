"""One small frozen config per model."""

from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from calm.errors import CalmError

SIMULATION, COHORT = "simulation", "cohort"  # names of the datasets that calm makes itself
AnyConfig = TypeVar("AnyConfig", bound="Config")
Pair = TypeVar("Pair", tuple[int, int], tuple[float, float])
Names = Annotated[
    tuple[str, ...], pydantic.BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
BelowOne = Annotated[float, pydantic.Field(ge=0, lt=1)]


def in_order(pair: Pair) -> Pair:
    """The pair, if the first number is not the larger one."""
    if pair[0] > pair[1]:
        raise ValueError(f"{pair} must be the least and the most")
    return pair


Counts = Annotated[tuple[PositiveInt, PositiveInt], pydantic.AfterValidator(in_order)]
AnyRange = Annotated[tuple[float, float], pydantic.AfterValidator(in_order)]
Range = Annotated[tuple[PositiveFloat, PositiveFloat], pydantic.AfterValidator(in_order)]


class Config(pydantic.BaseModel):
    """Frozen, and strict about names."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def changed(self: AnyConfig, **changes: Any) -> AnyConfig:
        """A copy with some values changed, checked like a new one.

        Raises:
            CalmError: a name that this configuration does not have, or a value that it cannot have.
        """
        try:
            return type(self).model_validate({**dict(self), **changes})
        except pydantic.ValidationError as error:
            mistake = error.errors()[0]
            name = ".".join(map(str, mistake["loc"])) or "it"
            if mistake["type"] == "extra_forbidden":
                known = ", ".join(type(self).model_fields)
                raise CalmError(f"{type(self).__name__} has no {name!r}: it has {known}.") from None
            raise CalmError(f"{type(self).__name__}: {name} cannot be changed so: {mistake['msg']}.") from None


class SimulationConfig(Config):
    """Recurrent rate network seen through calcium (App. A: Eq. 1, 17, 18)."""

    seeds: tuple[int, ...] = (0, 1, 2)  # one session each
    held_out_seeds: tuple[int, ...] = (3,)  # networks that no model is trained on
    trials: PositiveInt = 400
    neurons: PositiveInt = 200
    frames: PositiveInt = 100
    dt: PositiveFloat = 0.2  # s
    tau: PositiveFloat = 1.0  # s; the paper does not give it
    gain: NonNegativeFloat = 1.6
    initial_variance: NonNegativeFloat = 0.01
    noise_variance: NonNegativeFloat = 0.01
    max_rate: PositiveFloat = 5.0  # spikes/s
    rise: PositiveFloat = 0.05  # s
    decay: PositiveFloat = 2.0  # s
    imaging_noise: NonNegativeFloat = 0.016  # sd of the trace noise; the printed variance is garbled


class CohortConfig(Config):
    """Synthetic mice in the Y-maze, in the files of DANDI:000579; as it is, as many as the real ones.

    Sessions, neurons and lengths of trials follow Tables 1 and 2; no paper gives the other numbers.
    """

    seed: int = 0
    session_share: Share = 1.0  # of each mouse's sessions
    min_sessions: PositiveInt = 2  # of a mouse, however small the share
    neuron_share: float = pydantic.Field(1.0, gt=0, le=1)  # of each session's neurons
    min_neurons: int = pydantic.Field(16, ge=4)  # of a session, however small the share
    trials: PositiveInt = 300  # of a session
    block: Counts = (100, 150)  # trials from one switch of the rule to the next, at least and at most
    accuracy: float = pydantic.Field(0.85, ge=0.5, le=0.9)  # share of correct trials; it dips after a switch
    # sd over neurons of the tuning to each variable, where area and layer are at their strongest
    cue: NonNegativeFloat = 0.4
    choice: NonNegativeFloat = 1.2
    position: NonNegativeFloat = 1.2
    speed: NonNegativeFloat = 0.4
    latent: NonNegativeFloat = 0.7  # and of the drive from the recurrent network
    mouse_spread: NonNegativeFloat = 0.3  # sd of the log of a mouse's gain on each of these
    session_spread: NonNegativeFloat = 0.15  # and of a session's
    latents: PositiveInt = 16  # units of the recurrent network (Eq. 1)
    latent_tau: PositiveFloat = 1.0  # s
    latent_gain: NonNegativeFloat = 1.6
    latent_noise: NonNegativeFloat = 3.0  # variance
    baseline: float = -0.9  # of the drive; 0 is half the maximal rate
    max_rate: float = pydantic.Field(5.0, gt=0, le=100)  # spikes/s
    rise: PositiveFloat = 0.05  # s
    decay: PositiveFloat = 2.0  # s
    imaging_noise: NonNegativeFloat = 0.1  # sd, dF/F


class CorpusConfig(Config):
    """Broad synthetic recordings, which no paper describes: of any indicator, frame rate, activity and noise.

    Every range is drawn from evenly on a log scale, unless it says otherwise; all shares, and all ranges without a
    source, are chosen, wide rather than typical.
    """

    recordings: PositiveInt = 1000
    neurons: Counts = (2, 2000)  # of a recording
    trials: Counts = (10, 20)  # of a recording, one after the other without a gap; evenly
    frames: Counts = (32, 160)  # of a trial
    rate: Range = (2.0, 60.0)  # frames/s: from whole brains, volume by volume, to resonant scanners and one photon
    # s, time constants. GCaMP6f peaks 45 ms after a spike and has lost half 142 ms later, GCaMP6s after 179 and 550 ms
    # (Chen et al. 2013); jGCaMP8 rises within milliseconds (Zhang et al. 2023); indicators that are confined to the
    # nucleus, as in whole-brain imaging, take seconds.
    rise: Range = (0.01, 0.3)
    decay: Range = (0.1, 3.0)
    kinetics_spread: NonNegativeFloat = 0.2  # sd of the log of a neuron's time constants around those of its indicator
    saturation: Range = (3.0, 300.0)  # spikes at once whose signal is half of the largest
    drive_tau: Range = (0.1, 10.0)  # s, over which the rate of a neuron changes
    period: Range = (0.3, 20.0)  # s, of oscillations
    latents: Counts = (2, 32)  # units of the recurrent network behind a population
    gain: Range = (1.0, 2.0)  # of its coupling (Eq. 1), from quiet to chaotic; evenly
    threshold: AnyRange = (-1.0, 2.0)  # of the rate, in sd of the drive, from tonic to sparse; evenly
    spike_rate: Range = (0.02, 10.0)  # spikes/s, mean of a neuron: pyramidal cells fire below, interneurons above 1
    burst: Range = (1.0, 5.0)  # spikes of an event, mean
    silent: Share = 0.15  # share of neurons without a spike
    noise: Range = (0.02, 1.5)  # sd, in sd of a neuron's signal; evenly: raw traces are noisy more often than not
    neuropil: Range = (0.05, 1.0)  # sd of what is shared by all neurons, likewise
    neuropil_share: Share = 0.5  # of recordings that have it
    drift: Range = (0.2, 1.5)  # sd of a slow change of the baseline, likewise
    drift_tau: Range = (20.0, 600.0)  # s
    drift_share: Share = 0.3  # of neurons that have it
    bleaching: Range = (300.0, 3000.0)  # s, in which a recording loses 1 - 1/e of its light
    smoothing: Range = (0.1, 0.7)  # weight of the newest frame
    smoothing_share: Share = 0.35  # of recordings that were smoothed


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


class FitConfig(Config):
    """The training loop; a budget of steps, which are evenly spread over whatever sessions there are."""

    steps: PositiveInt
    adapt_share: float = pydantic.Field(1.0, gt=0, le=1)  # of them that adapting to new sessions takes
    adapt_rate: PositiveFloat = 1.0  # times the learning rate, where only embeddings are adapted
    rows: PositiveInt = 2048  # traces (trial x neuron) per step, all of one session
    neurons: PositiveInt = 512  # of them, at most
    learning_rate: NonNegativeFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-3
    warmup: BelowOne = 0.06  # share of the steps
    clip: PositiveFloat = 1.0
    weight_ema: BelowOne = 0.0  # decay per step of the averaged weights; 0 is none
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"
    session_groups: PositiveInt = 1  # a step takes a batch of each: see `calm.training.parallel`
    validate_every: PositiveInt = 100  # steps; an interrupted run goes on from the last validation
    patience: NonNegativeInt = 0  # validations without a better score before stopping; 0 trains to the end

    def adapting(self) -> "FitConfig":
        """The loop that a frozen model gets to know new sessions by."""
        return self.shortened(self.adapt_share).changed(learning_rate=self.learning_rate * self.adapt_rate)

    def shortened(self, share: float) -> "FitConfig":
        """A share of the steps, at least one, with as many validations."""
        steps, every = (max(1, round(share * count)) for count in (self.steps, self.validate_every))
        return self.changed(steps=steps, validate_every=every)


class ForecastConfig(Config):
    """Rollouts: how many frames are given, and how many futures are averaged."""

    context: PositiveInt = 40  # frames
    horizon: PositiveInt | None = None  # frames after it on which methods are compared; None: see `calm.recordings`
    trained_horizon: PositiveInt = 60  # frames that fine-tuning rolls out, at most
    samples: PositiveInt = 64  # rollouts whose mean is the forecast
    validation_trials: PositiveInt = 60  # at most, of each session, whose forecasts choose the weights
    rows: PositiveInt = 20_000  # neurons x trials x samples rolled out at once


class VARConfig(Config):
    """Search space of the ridge vector autoregression."""

    orders: tuple[PositiveInt, ...] = (1, 2, 4, 8)
    penalties: tuple[PositiveFloat, ...] = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)


class POCOConfig(Config):
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


class PatchesConfig(DualAxisConfig):
    """The same layers on continuous patches."""

    patch: PositiveInt = 4  # frames


class TCNConfig(Config):
    """Temporal convolutional network (App. B)."""

    width: PositiveInt = 256
    layers: PositiveInt = 5  # the dilation doubles from one to the next
    kernel: PositiveInt = 5
    dropout: Share = 0.1


class PatchTSTConfig(Config):
    """PatchTST (App. B)."""

    patch: PositiveInt = 8  # frames
    stride: PositiveInt = 4  # frames
    width: PositiveInt = 128
    layers: PositiveInt = 3
    heads: PositiveInt = 8
    ffn: PositiveInt = 256  # the paper does not give it; the default of NeuralForecast
    dropout: Share = 0.1
    horizon: PositiveInt = 20  # frames of the simulation forecast at once, not in the paper; else ForecastConfig's


class ITransformerConfig(Config):
    """iTransformer (App. B)."""

    width: PositiveInt = 64
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    ffn: PositiveInt = 2048  # the paper does not give it; the default of NeuralForecast
    dropout: Share = 0.1
    horizon: PositiveInt = 20  # frames of the simulation forecast at once, not in the paper; else ForecastConfig's


class HeadConfig(Config):
    """Linear and GLU behaviour heads on the frozen transformer (Eq. 15, 16)."""

    rank: PositiveInt = 16  # the paper does not give it
    taps: PositiveInt = 9  # frames of the temporal convolution; the paper does not give it
    # Frames after the present one that are seen. The paper does not give it. In the authors' code the convolution is
    # centred, 4 frames ahead, on top of the 3 after the first frame of a token.
    look_ahead: NonNegativeInt = 7
    dropout: Share = 0.5  # the paper does not give it


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


class AblationConfig(Config):
    """Trainings without one part at a time (Tables 7 and 8)."""

    sessions: PositiveInt = 12  # at most, at random among those that models are trained on
    seeds: tuple[int, ...] = pydantic.Field((0, 1, 2), min_length=1)  # of the trainings; the paper mentions none
    quantizer_steps: PositiveInt
    dat_steps: PositiveInt
    rows_share: float = pydantic.Field(1.0, gt=0, le=1)  # of the rows per step of either fit
