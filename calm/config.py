"""One small frozen config per model."""

from typing import Annotated, Any, Literal, TypeVar

import pydantic

from calm.errors import CalmError

SIMULATION, COHORT = "simulation", "cohort"  # names of the datasets that calm makes itself
AnyConfig = TypeVar("AnyConfig", bound="Config")
Names = Annotated[
    tuple[str, ...], pydantic.BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]


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
    trials: int = 400
    neurons: int = 200
    frames: int = 100
    dt: float = 0.2  # s
    tau: float = 1.0  # s; the paper does not give it
    gain: float = 1.6
    initial_variance: float = 0.01
    noise_variance: float = 0.01
    max_rate: float = 5.0  # spikes/s
    rise: float = 0.05  # s
    decay: float = 2.0  # s
    imaging_noise: float = 0.016  # sd of the trace noise; the printed variance is garbled


class CohortConfig(Config):
    """Synthetic mice in the Y-maze, in the files of DANDI:000579; as it is, as many as the real ones.

    Sessions, neurons and lengths of trials follow Tables 1 and 2; no paper gives the other numbers.
    """

    seed: int = 0
    session_share: float = pydantic.Field(1.0, ge=0, le=1)  # of each mouse's sessions
    min_sessions: int = pydantic.Field(2, ge=1)  # of a mouse, however small the share
    neuron_share: float = pydantic.Field(1.0, gt=0, le=1)  # of each session's neurons
    min_neurons: int = pydantic.Field(16, ge=4)  # of a session, however small the share
    trials: int = pydantic.Field(300, ge=1)  # of a session
    block: tuple[int, int] = (100, 150)  # trials from one switch of the rule to the next, at least and at most
    accuracy: float = pydantic.Field(0.85, ge=0.5, le=0.9)  # share of correct trials; it dips after a switch
    cue: float = 0.4  # sd over neurons of the tuning to each variable, where area and layer are at their strongest
    choice: float = 1.2
    position: float = 1.2
    speed: float = 0.4
    latent: float = 0.7  # and of the drive from the recurrent network
    mouse_spread: float = 0.3  # sd of the log of a mouse's gain on each of these
    session_spread: float = 0.15  # and of a session's
    latents: int = pydantic.Field(16, ge=1)  # units of the recurrent network (Eq. 1)
    latent_tau: float = 1.0  # s
    latent_gain: float = 1.6
    latent_noise: float = 3.0  # variance
    baseline: float = -0.9  # of the drive; 0 is half the maximal rate
    max_rate: float = pydantic.Field(5.0, gt=0, le=100)  # spikes/s
    rise: float = 0.05  # s
    decay: float = 2.0  # s
    imaging_noise: float = 0.1  # sd, dF/F

    @pydantic.model_validator(mode="after")
    def _block_in_order(self) -> "CohortConfig":
        if not 1 <= self.block[0] <= self.block[1]:
            raise ValueError(f"`block` {self.block} must be the least and the most trials of a block")
        return self


Range = tuple[float, float]  # from and to


class CorpusConfig(Config):
    """Broad synthetic recordings, which no paper describes: of any indicator, frame rate, activity and noise.

    Every range is drawn from evenly on a log scale, unless it says otherwise; all shares, and all ranges without a
    source, are chosen, wide rather than typical.
    """

    recordings: int = pydantic.Field(1000, ge=1)
    neurons: tuple[int, int] = (2, 2000)  # of a recording
    trials: tuple[int, int] = (10, 20)  # of a recording, one after the other without a gap; evenly
    frames: tuple[int, int] = (32, 160)  # of a trial
    rate: Range = (2.0, 60.0)  # frames/s: from whole brains, volume by volume, to resonant scanners and one photon
    # s, time constants. GCaMP6f peaks 45 ms after a spike and has lost half 142 ms later, GCaMP6s after 179 and 550 ms
    # (Chen et al. 2013); jGCaMP8 rises within milliseconds (Zhang et al. 2023); indicators that are confined to the
    # nucleus, as in whole-brain imaging, take seconds.
    rise: Range = (0.01, 0.3)
    decay: Range = (0.1, 3.0)
    kinetics_spread: float = 0.2  # sd of the log of a neuron's time constants around those of its indicator
    saturation: Range = (3.0, 300.0)  # spikes at once whose signal is half of the largest
    drive_tau: Range = (0.1, 10.0)  # s, over which the rate of a neuron changes
    period: Range = (0.3, 20.0)  # s, of oscillations
    latents: tuple[int, int] = (2, 32)  # units of the recurrent network behind a population
    gain: Range = (1.0, 2.0)  # of its coupling (Eq. 1), from quiet to chaotic; evenly
    threshold: Range = (-1.0, 2.0)  # of the rate, in sd of the drive, from tonic to sparse; evenly
    spike_rate: Range = (0.02, 10.0)  # spikes/s, mean of a neuron: pyramidal cells fire below, interneurons above 1
    burst: Range = (1.0, 5.0)  # spikes of an event, mean
    silent: float = pydantic.Field(0.15, ge=0, le=1)  # share of neurons without a spike
    noise: Range = (0.02, 1.5)  # sd, in sd of a neuron's signal; evenly: raw traces are noisy more often than not
    neuropil: Range = (0.05, 1.0)  # sd of what is shared by all neurons, likewise
    neuropil_share: float = pydantic.Field(0.5, ge=0, le=1)  # of recordings that have it
    drift: Range = (0.2, 1.5)  # sd of a slow change of the baseline, likewise
    drift_tau: Range = (20.0, 600.0)  # s
    drift_share: float = pydantic.Field(0.3, ge=0, le=1)  # of neurons that have it
    bleaching: Range = (300.0, 3000.0)  # s, in which a recording loses 1 - 1/e of its light
    smoothing: Range = (0.1, 0.7)  # weight of the newest frame
    smoothing_share: float = pydantic.Field(0.35, ge=0, le=1)  # of recordings that were smoothed


class QuantizerConfig(Config):
    """Neural quantizer (Table 5)."""

    width: int = 512
    codes: int = 128
    encoder_layers: int = 4
    decoder_layers: int = 4
    predictor_layers: int = 2  # the paper does not give it; the authors' code has 2
    heads: int = 4
    window: int = 4  # frames per token
    horizons: int = 4  # tokens ahead that the causal head predicts
    ema_decay: float = 0.99
    temperature: tuple[float, float] = (2.5, 0.01)  # Gumbel, from and to
    anneal: float = 0.8  # share of the steps over which the temperature falls
    warmup: float = pydantic.Field(0.01, gt=0, lt=1)  # share of them of pure reconstruction, before the codebook exists
    queue: int = 10_000  # recent encoder outputs kept for the k-means start and revivals
    revive_every: float = pydantic.Field(0.1, gt=0)  # share of the steps
    revive_below: float = 0.2  # of the mean usage
    label_smoothing: float = 0.05
    weight_pearson: float = 0.5  # alpha of the reconstruction loss
    weight_embed: float = 1.0
    weight_commit: float = 0.5
    weight_entropy: float = 0.5
    weight_orthogonality: float = 1e-3  # the paper gives none
    weight_ar: float = 0.5
    weight_align: float = 0.5


class DualAxisConfig(Config):
    """Layers over time and neurons (Table 6)."""

    width: int = 512
    layers: int = 6
    heads: int = 8
    ffn: int = 2048
    dropout: float = 0.15  # the paper does not give it
    # Of neuron embeddings at the start, nor this. From 1, PyTorch's default, what is learned on few recordings drowns.
    embedding_sd: float = 0.02
    # Root mean square of the loadings that are added to neuron embeddings (`calm.models.loadings`); the paper has none.
    loadings: float = pydantic.Field(0.0, ge=0)
    time_first: bool = False  # the authors' code has time before neurons, the paper neurons before time
    scheduled_sampling: float = 0.6
    block: int = 6  # tokens fed back by scheduled sampling


class DATConfig(DualAxisConfig):
    """Dual-axis transformer on tokens (Table 6)."""

    corruption: Literal["input", "losses"] = "input"  # "losses" is Eq. 14 as printed
    replacement: float = 0.1
    neighbours: int = 12
    weight_sampling: float = 1.0  # lambda_SS; read by corruption "losses" only
    weight_replacement: float = 1.0  # lambda_NR; read by corruption "losses" only


class FitConfig(Config):
    """The training loop; a budget of steps, which are evenly spread over whatever sessions there are."""

    steps: int = pydantic.Field(ge=1)
    adapt_share: float = pydantic.Field(1.0, gt=0, le=1)  # of them that adapting to new sessions takes
    adapt_rate: float = pydantic.Field(1.0, gt=0)  # times the learning rate, where only embeddings are adapted
    rows: int = 2048  # traces (trial x neuron) per step, all of one session
    neurons: int = 512  # of them, at most
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    warmup: float = 0.06  # share of the steps
    clip: float = 1.0
    weight_ema: float = 0.0  # decay per step of the averaged weights; 0 is none
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"
    session_groups: int = pydantic.Field(1, ge=1)  # a step takes a batch of each: see `calm.training.parallel`
    validate_every: int = pydantic.Field(100, ge=1)  # steps; an interrupted run goes on from the last validation
    patience: int = 0  # validations without a better score before stopping; 0 trains to the end

    def adapting(self) -> "FitConfig":
        """The loop that a frozen model gets to know new sessions by."""
        return self.shortened(self.adapt_share).changed(learning_rate=self.learning_rate * self.adapt_rate)

    def shortened(self, share: float) -> "FitConfig":
        """A share of the steps, at least one, with as many validations."""
        steps, every = (max(1, round(share * count)) for count in (self.steps, self.validate_every))
        return self.changed(steps=steps, validate_every=every)


class ForecastConfig(Config):
    """Rollouts: how many frames are given, and how many futures are averaged."""

    context: int = 40  # frames
    horizon: int | None = None  # frames after it on which methods are compared; None: see `calm.recordings`
    trained_horizon: int = 60  # frames that fine-tuning rolls out, at most
    samples: int = 64  # rollouts whose mean is the forecast
    validation_trials: int = 60  # at most, of each session, whose forecasts choose the weights
    rows: int = 20_000  # neurons x trials x samples rolled out at once


class VARConfig(Config):
    """Search space of the ridge vector autoregression."""

    orders: tuple[int, ...] = (1, 2, 4, 8)
    penalties: tuple[float, ...] = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)


class POCOConfig(Config):
    """POCO, population-conditioned forecaster (App. B)."""

    width: int = 128
    latents: int = 8
    layers: int = 1  # of attention among the latents
    heads: int = 16  # there; one where latents read neurons or neurons read latents
    head_width: int = 64
    hidden: int = 1024  # of the map from context to horizon
    compression: int = 8  # frames per token
    ffn_dropout: float = 0.2
    dropout: float = 0.4
    longest_period: float = 100.0  # frames; of the rotary positions
    horizon: int = 24  # frames of the simulation: all that it can forecast; of other recordings, ForecastConfig's


class PatchesConfig(DualAxisConfig):
    """The same layers on continuous patches."""

    patch: int = 4  # frames


class TCNConfig(Config):
    """Temporal convolutional network (App. B)."""

    width: int = 256
    layers: int = 5  # the dilation doubles from one to the next
    kernel: int = 5
    dropout: float = 0.1


class PatchTSTConfig(Config):
    """PatchTST (App. B)."""

    patch: int = 8  # frames
    stride: int = 4  # frames
    width: int = 128
    layers: int = 3
    heads: int = 8
    ffn: int = 256  # the paper does not give it; the default of NeuralForecast
    dropout: float = 0.1
    horizon: int = 20  # frames of the simulation forecast at once, not in the paper; else ForecastConfig's


class ITransformerConfig(Config):
    """iTransformer (App. B)."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    ffn: int = 2048  # the paper does not give it; the default of NeuralForecast
    dropout: float = 0.1
    horizon: int = 20  # frames of the simulation forecast at once, not in the paper; else ForecastConfig's


class HeadConfig(Config):
    """Linear and GLU behaviour heads on the frozen transformer (Eq. 15, 16)."""

    rank: int = 16  # the paper does not give it
    taps: int = 9  # frames of the temporal convolution; the paper does not give it
    # Frames after the present one that are seen. The paper does not give it. In the authors' code the convolution is
    # centred, 4 frames ahead, on top of the 3 after the first frame of a token.
    look_ahead: int = pydantic.Field(7, ge=0)
    dropout: float = 0.5  # the paper does not give it


class RidgeDecoderConfig(Config):
    """Search space of GLM and RRR: ridge on the traces of the newest frames (App. B)."""

    lags: int = 5  # frames, the present one included
    look_ahead: int = pydantic.Field(0, ge=0)  # frames after the present one that are seen as well; the paper has none
    penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2)  # the paper's upper end is garbled


class TCNDecoderConfig(Config):
    """Temporal convolutional network as a decoder (App. B)."""

    width: int = 64
    layers: int = 4  # the dilation doubles from one to the next
    kernel: int = 5
    look_ahead: int = pydantic.Field(0, ge=0)  # frames after the present one that are seen as well; the paper has none
    dropout: float = 0.2


class POYOConfig(Config):
    """POYO+, the official implementation (App. B)."""

    width: int = 128
    head_width: int = 64
    latents: int = 32  # in each latent step
    latent_step: float = 0.125  # s
    depth: int = 4
    heads: int = 8
    ffn_dropout: float = 0.2
    linear_dropout: float = 0.4
    attention_dropout: float = 0.2
    window: float = 1.0  # s of a stretch that it reads at once; the paper does not give it


class AblationConfig(Config):
    """Trainings without one part at a time (Tables 7 and 8)."""

    sessions: int = pydantic.Field(12, ge=1)  # at most, at random among those that models are trained on
    seeds: tuple[int, ...] = pydantic.Field((0, 1, 2), min_length=1)  # of the trainings; the paper mentions none
    quantizer_steps: int = pydantic.Field(ge=1)
    dat_steps: int = pydantic.Field(ge=1)
    rows_share: float = pydantic.Field(1.0, gt=0, le=1)  # of the rows per step of either fit
