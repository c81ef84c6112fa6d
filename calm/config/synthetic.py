"""What calm makes itself: simulated networks, synthetic mice, and the corpus that weights are pretrained on."""

import pydantic
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from calm.config.base import AnyRange, Config, Counts, Range, Share

SIMULATION, COHORT = "simulation", "cohort"  # names of the datasets that calm makes itself


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
