"""CalM beside its rivals on the same windows: training windows a second, and the time of a forecast or decoded trial.

Forecasts are timed as the library makes them, in float32 on a GPU too.
"""

from calm.baselines.itransformer import ITransformer
from calm.baselines.linear import RidgeVAR
from calm.baselines.patches import ContinuousPatches
from calm.baselines.patchtst import PatchTST
from calm.baselines.poco import POCO
from calm.baselines.poyo import POYO
from calm.baselines.tcn import TCN
from calm.benchmark.measure import Row, repeat
from calm.benchmark.settings import CONTEXT, TOKENS, Settings
from calm.benchmark.steps import NOISE, noise_session, noise_tokens, time_training
from calm.config.fitting import FitConfig
from calm.data.session import Session
from calm.models.interfaces import Forecaster, Trainable
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.profile import Profile, load_profile
from calm.training.batches import Batches, decoding_batches, window_batches
from calm.training.decoding import NetworkDecoder
from calm.training.forecasting import CalMForecaster, NetworkForecaster

AT_ONCE = 8  # trials that are forecast or decoded together
FORECASTERS = {  # and where their numbers are in a profile
    "POCO": (POCO, "poco"),
    "TCN": (TCN, "tcn"),
    "PatchTST": (PatchTST, "patchtst"),
    "iTransformer": (ITransformer, "itransformer"),
    "continuous patches": (ContinuousPatches, "patches"),
}


def calm(settings: Settings) -> Row:
    """The transformer: a step with corrupted input, as it is trained, and a rollout that feeds back expectations."""
    profile = load_profile(settings.rivals)
    session = noise_session(profile.simulation.neurons)
    quantizer = NeuralQuantizer(profile.quantizer).to(settings.device).eval()
    vectors, sizes = quantizer.codebook.vectors.detach().cpu(), {NOISE: len(session.neurons)}
    transformer = DualAxisTransformer(profile.dat.changed(scheduled_sampling=1.0), vectors, sizes)
    batches = noise_tokens(len(session.neurons), TOKENS, profile.quantizer.codes, profile.dat_fit)
    row = train_on_windows(transformer, batches, profile.dat_fit, len(session.neurons), settings)
    forecaster = CalMForecaster(transformer.eval(), quantizer, NOISE, profile.forecast, choice="expected")
    return {**row, **time_forecast(forecaster, session, profile, settings)}


def train_on_windows(model: Trainable, batches: Batches, fit: FitConfig, neurons: int, settings: Settings) -> Row:
    """A training step; a window is all neurons of one trial."""
    row = time_training(model, batches, fit, settings)
    windows = max(1, fit.rows // neurons)
    return {"neurons": neurons, "rows": windows * neurons, **row, "windows/s": 1000 * windows / row["ms"]}


def time_forecast(forecaster: Forecaster, session: Session, profile: Profile, settings: Settings) -> Row:
    """Time of the forecast of a trial, as far as POCO can forecast; some are made together."""
    contexts = [trace[:, :CONTEXT] for trace in session.traces[:AT_ONCE]]
    horizons = AT_ONCE * [profile.poco.horizon]
    row = repeat(lambda: forecaster.forecast(contexts, horizons), settings, count_flops=False)
    return {"ms a forecast": row["ms"] / AT_ONCE}


def network(name: str, settings: Settings) -> Row:
    """A network that forecasts."""
    profile, (kind, numbers) = load_profile(settings.rivals), FORECASTERS[name]
    session, fit = noise_session(profile.simulation.neurons), getattr(profile, f"{numbers}_fit")
    neurons = len(session.neurons)
    model = kind(getattr(profile, numbers), CONTEXT, {NOISE: neurons})
    row = train_on_windows(model, window_batches([session], model.window, fit, seed=0), fit, neurons, settings)
    forecaster = NetworkForecaster(model.eval(), NOISE, profile.forecast)
    return {**row, **time_forecast(forecaster, session, profile, settings)}


def ridge_var(settings: Settings) -> Row:
    """The autoregression has no steps: its whole fit, search included, is timed."""
    profile = load_profile(settings.rivals)
    session, model = noise_session(profile.simulation.neurons), RidgeVAR(profile.var, profile.forecast)
    row, windows = repeat(lambda: model.fit(session), settings, count_flops=False), len(session.trials_of("train"))
    row = {"neurons": len(session.neurons), **row, "windows/s": 1000 * windows / row["ms"]}
    return {**row, **time_forecast(model, session, profile, settings)}


def poyo(settings: Settings) -> Row:
    """POYO+, which decodes; its windows are shorter."""
    profile = load_profile(settings.rivals)
    session, fit = noise_session(profile.simulation.neurons), profile.poyo_single_fit
    neurons = len(session.neurons)
    model = POYO(profile.poyo_single, {NOISE: neurons}, len(session.behaviour_names), session.rate)
    row = train_on_windows(model, decoding_batches([session], model.window, fit, seed=0), fit, neurons, settings)
    decoder = NetworkDecoder(model.eval(), NOISE)
    decoded = repeat(lambda: decoder.decode(session.traces[:AT_ONCE]), settings, count_flops=False)
    return {**row, "ms a decoded trial": decoded["ms"] / AT_ONCE}
