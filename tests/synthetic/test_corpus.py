"""The broad corpus: its traces against closed forms, its recordings against its ranges."""

import numpy as np
import pytest

from calm.config.fitting import FitConfig
from calm.config.synthetic import CorpusConfig
from calm.synthetic import corpus, traces
from calm.synthetic.corpus import Layout, draw_corpus, draw_recording
from calm.training.stages import train
from calm.training.tasks import QuantizerTask

SMALL = CorpusConfig(recordings=3, neurons=(4, 12), trials=(8, 10), frames=(16, 40))
RISE, DECAY = np.array([0.05]), np.array([0.4])


def rng():
    return np.random.default_rng(0)


def one_spike(rate, seconds=4.0, count=1):
    """The signal of some spikes in the first moment."""
    frames = int(rate * seconds)
    steps = int(np.ceil(1 / (rate * traces.LONGEST_STEP)))
    spikes = np.zeros((1, frames * steps), dtype=int)
    spikes[0, 0] = count
    return traces.fluorescence(spikes, frames, rate, RISE, DECAY, saturation=1e9)[0]


def test_a_spike_has_the_kernel_of_its_indicator_and_height_one():
    times = (np.arange(4000) + 1) / 1000 - 1 / 1000  # the spike is in the first step, at whose end it is seen first
    kernel = (1 - np.exp(-times / RISE)) * np.exp(-times / DECAY)
    np.testing.assert_allclose(one_spike(1000.0), kernel / kernel.max(), atol=1e-4)
    assert one_spike(1000.0).argmax() / 1000 == pytest.approx(RISE[0] * np.log(1 + DECAY[0] / RISE[0]), abs=2e-3)


def test_the_signal_does_not_depend_on_the_frame_rate():
    fast, slow = one_spike(50.0), one_spike(5.0)
    np.testing.assert_allclose(slow, fast[9::10], rtol=1e-9)


def test_as_many_spikes_as_the_saturation_have_half_the_largest_signal():
    spikes = np.zeros((1, 1000), dtype=int)
    spikes[0, 0] = 20
    signal = traces.fluorescence(spikes, 1000, 1000.0, RISE, DECAY, saturation=20.0)
    assert signal.max() == pytest.approx(10.0, rel=1e-3)


def test_ornstein_uhlenbeck_noise_has_unit_variance_from_the_start_and_its_memory():
    noise = traces.ornstein_uhlenbeck(np.full(4000, 0.5), 20, 10.0, rng())
    np.testing.assert_allclose(noise.var(axis=0), 1, atol=0.12)
    assert (noise[:, 5] * noise[:, 10]).mean() == pytest.approx(np.exp(-1), abs=0.06)


def test_rates_rise_with_the_drive_and_have_their_mean():
    drive = rng().normal(size=(2, 500))
    rates = traces.rates_of(drive, np.array([0.0, 1.5]), np.array([2.0, 0.0]))
    assert rates[0].mean() == pytest.approx(2) and not rates[1].any()
    assert np.all(np.diff(rates[0][drive[0].argsort()]) >= 0)


@pytest.mark.parametrize("burst", [1.0, 4.0])
def test_events_bring_bursts_but_leave_the_rate(burst):
    seconds, rate = 20_000, 10.0
    spikes = traces.draw_spikes(np.full((1, int(seconds * rate)), 2.0), rate, np.array([burst]), rng())
    counts = spikes.reshape(seconds, -1).sum(axis=1)
    assert counts.mean() == pytest.approx(2, rel=0.05)
    assert counts.var() / counts.mean() == pytest.approx((burst**2 + burst - 1) / burst, rel=0.1)


def test_a_recording_follows_from_the_seed_and_its_number_alone():
    recordings = draw_corpus(SMALL, seed=0)
    alone = draw_recording(SMALL, 0, 2)
    assert alone.fingerprint() == recordings[2].fingerprint()
    others = {draw_recording(SMALL, seed, 2).traces[0].tobytes() for seed in range(5)}
    assert len(others) == 5 and len({each.fingerprint() for each in recordings}) == 3


def test_recordings_stay_within_the_ranges_and_are_prepared():
    config = SMALL.changed(recordings=60)
    for session in draw_corpus(config, seed=1):
        assert config.neurons[0] <= len(session.neurons) <= config.neurons[1]
        assert config.trials[0] <= len(session.traces) <= config.trials[1]
        assert config.frames[0] <= session.frames.min() == session.frames.max() <= config.frames[1]
        assert config.rate[0] <= session.rate <= config.rate[1]
        train_frames = np.concatenate([session.traces[trial] for trial in session.trials_of("train")], axis=1)
        np.testing.assert_allclose(train_frames.mean(axis=1), 0, atol=1e-4)
        np.testing.assert_allclose(train_frames.std(axis=1), 1, atol=1e-3)


def test_the_corpus_has_every_activity_smoothed_and_not_with_silent_neurons():
    sessions = draw_corpus(SMALL.changed(recordings=60), seed=1)
    assert {session.subject for session in sessions} == {"independent", *corpus.SHARED}
    smoothed = np.mean([session.preparation.smoothing < 1 for session in sessions])
    silent = np.mean(np.concatenate([session.neurons["spike_rate"] == 0 for session in sessions]))
    assert smoothed == pytest.approx(SMALL.smoothing_share, abs=0.2) and silent == pytest.approx(0.15, abs=0.08)


def test_silent_neurons_are_noise_as_large_as_said():
    quiet = SMALL.changed(silent=1, neuropil_share=0, drift_share=0, smoothing_share=0, noise=(0.5, 0.5))
    session = draw_recording(quiet.changed(neurons=(50, 50), trials=(20, 20), frames=(100, 100)), 0, 0)
    np.testing.assert_allclose(session.neurons["sd"], 0.5 * traces.SIGNAL_FLOOR, rtol=0.1)
    flat = np.concatenate(session.traces, axis=1)
    assert np.abs((flat[:, 1:] * flat[:, :-1]).mean(axis=1)).max() < 0.15


def test_a_task_drives_trials_of_one_condition_alike():
    layout = Layout(neurons=5, trials=30, trial_frames=20, rate=5.0)
    trials = np.split(corpus.task_drive(layout, SMALL, rng()), layout.trials, axis=1)
    assert len({trial.tobytes() for trial in trials}) == corpus.CONDITIONS


def test_an_oscillation_has_its_period():
    layout = Layout(neurons=3, trials=40, trial_frames=50, rate=10.0)
    drive = corpus.oscillating_drive(layout, SMALL.changed(period=(2.0, 2.0)), rng())
    power = np.abs(np.fft.rfft(drive)) ** 2
    frequency = np.fft.rfftfreq(layout.frames, 1 / layout.rate)
    assert (power * frequency).sum() / power.sum() == pytest.approx(0.5, rel=0.15)


def test_a_recurrent_population_has_no_more_dimensions_than_its_network():
    layout = Layout(neurons=12, trials=4, trial_frames=50, rate=10.0)
    drive = corpus.recurrent_drive(layout, SMALL.changed(latents=(3, 3)), rng())
    assert np.linalg.matrix_rank(drive) == 3


def test_the_quantizer_trains_on_the_corpus_as_on_any_sessions(quantizer_config, tmp_path):
    task = QuantizerTask(draw_corpus(SMALL, seed=0), quantizer_config.changed(warmup=0.3))
    trained = train(task, FitConfig(steps=6, validate_every=3, rows=40), seed=0, runs=tmp_path)
    assert np.isfinite(trained.history["loss"]).all() and trained.model.codebook.has_started()
