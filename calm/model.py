"""CalM in a few lines: pretrain on sessions, adapt to new ones, forecast, save and load."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.baselines.linear import Decay, RidgeVAR
from calm.baselines.validation import validation_correlation
from calm.data.session import Preparation, Session, cut_trials, to_unit
from calm.errors import CalmError
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import Choice
from calm.models.transformer import DualAxisTransformer
from calm.paths import RUNS
from calm.profile import Profile, load_profile
from calm.training.forecasting import CalMForecaster
from calm.training.reconstruction import reconstruct
from calm.training.saved import load_stages, save_stages
from calm.training.stages import Trained, train
from calm.training.tasks import FineTuningTask, TransformerTask, train_quantizer

LARGEST_VAR = 1000  # neurons; a linear model of more takes longer than CalM


@dataclasses.dataclass(frozen=True, eq=False)
class CalM:
    """A quantizer and a transformer that know some sessions.

    Attributes:
        profile: the numbers that they were made with.
        quantizer: stage 1.
        transformer: stage 2.
        preparations: of the sessions that the transformer knows, by name.
    """

    profile: Profile
    quantizer: Trained[NeuralQuantizer]
    transformer: Trained[DualAxisTransformer]
    preparations: Mapping[str, Preparation]

    @classmethod
    def pretrain(
        cls, sessions: Sequence[Session], profile: Profile | str = "quick", *, seed: int = 0, runs: Path = RUNS
    ) -> "CalM":
        """Train both stages on the training trials of prepared sessions (`calm.prepare`); found again if done before.

        In the end it prints how well it forecasts validation trials beside a decay and a linear model, see `compare`.

        Args:
            sessions: of any number of neurons each.
            profile: a name, or numbers of your own; its `forecast.context` must leave a token of every trial.
            seed: of everything random.
            runs: folder of all trainings; an interrupted one goes on.

        Raises:
            CalmError: sessions that are not prepared, or trials too short for the context.
        """
        profile = load_profile(profile) if isinstance(profile, str) else profile
        check_prepared(sessions, profile)
        quantizer = train_quantizer(sessions, profile, seed=seed, runs=runs)
        task = TransformerTask(quantizer, sessions, profile.dat, profile.forecast)
        trained = train(task, profile.dat_fit, seed=seed, runs=runs)
        model = cls(profile, quantizer, trained, preparations_of(sessions))
        print(verdict(model.compare(sessions).mean()))
        return model

    def adapt(self, sessions: Sequence[Session], *, seed: int = 0, runs: Path = RUNS) -> "CalM":
        """The same model for new sessions: only their neuron and session embeddings are trained (Sec. 3.2).

        Raises:
            CalmError: as `pretrain`.
        """
        check_prepared(sessions, self.profile)
        task = TransformerTask(self.quantizer, sessions, self.profile.dat, self.profile.forecast)
        adapted = train(task, self.profile.dat_fit, seed=seed, runs=runs, pretrained=self.transformer)
        return CalM(self.profile, self.quantizer, adapted, preparations_of(sessions))

    def finetune(self, sessions: Sequence[Session], *, trunk: bool = True, seed: int = 0, runs: Path = RUNS) -> "CalM":
        """The same model, trained further on what its forecasts look like as traces; not in the paper.

        New subjects take three steps: `model.finetune(old).adapt(new).finetune(new, trunk=False)`.

        Args:
            sessions: some of `sessions`; the new model knows no others.
            trunk: whether all is trained, or neuron and session embeddings only.
            seed: of everything random.
            runs: folder of all trainings; an interrupted one goes on.

        Raises:
            CalmError: as `pretrain`; or a session that the model does not know.
        """
        check_prepared(sessions, self.profile)
        for session in sessions:
            self.check_known(session)
        task = FineTuningTask(
            self.quantizer, sessions, self.profile.dat, self.profile.forecast, transformer=self.transformer
        )
        pretrained = None if trunk else self.transformer
        tuned = train(task, self.profile.finetune_fit, seed=seed, runs=runs, pretrained=pretrained)
        return CalM(self.profile, self.quantizer, tuned, preparations_of(sessions))

    @property
    def sessions(self) -> dict[str, int]:
        """The sessions that the transformer knows, with the number of neurons of each."""
        return self.transformer.model.neuron_counts

    def forecast(
        self,
        session: Session,
        trials: Int[np.ndarray, " trial"],
        *,
        horizon: int | None = None,
        choice: str = "expected",
        samples: int = 1,
        unit: str = "z-score",
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """What the neurons do after the context of some trials.

        Args:
            session: prepared, and one of `sessions`.
            trials: indices.
            horizon: frames; None goes to the end of each trial.
            choice: what is fed back after each token: all of them, weighted (`expected`), the likeliest (`greedy`) or
                one drawn (`sample`, whose forecast is the mean of `samples` rollouts).
            samples: rollouts.
            unit: `z-score`, or `original`, that of the file (of smoothed traces, if they were smoothed).

        Raises:
            CalmError: a session that the model does not know; another `choice` or `unit`.
        """
        forecaster = self.forecaster(session, choice, samples)
        contexts, futures = cut_trials(session, trials, self.profile.forecast.context, horizon)
        horizons = [horizon or future.shape[1] for future in futures]
        return to_unit(session, forecaster.forecast(contexts, horizons), unit)

    def forecast_beyond(
        self,
        session: Session,
        trials: Int[np.ndarray, " trial"],
        *,
        horizon: int,
        choice: str = "expected",
        samples: int = 1,
        unit: str = "z-score",
    ) -> list[Float[np.ndarray, "neuron horizon"]]:
        """What the neurons do after the end of some trials; after the last one, what nobody has recorded yet.

        The arguments are those of `forecast`, but the context are the last frames of a trial.

        Raises:
            CalmError: as `forecast`.
        """
        forecaster = self.forecaster(session, choice, samples)
        contexts = [session.traces[trial][:, -self.profile.forecast.context :] for trial in trials]
        return to_unit(session, forecaster.forecast(contexts, [horizon] * len(contexts)), unit)

    def forecaster(self, session: Session, choice: str = "expected", samples: int = 1) -> CalMForecaster:
        """The model behind the interface that rivals have.

        Raises:
            CalmError: as `forecast`.
        """
        self.check_known(session)
        if choice not in get_args(Choice):
            raise CalmError(f"There is no choice {choice!r}: take one of {', '.join(get_args(Choice))}.")
        models = self.transformer.model, self.quantizer.model
        return CalMForecaster(*models, session.name, self.profile.forecast, choice=choice, samples=samples)

    def reconstruct(
        self, session: Session, trials: Int[np.ndarray, " trial"], *, unit: str = "z-score"
    ) -> list[Float[np.ndarray, "neuron _frame"]]:
        """Trials through tokens and back, without the frames after the last whole token; units as in `forecast`."""
        traces, _ = reconstruct(self.quantizer.model, session, trials)
        return to_unit(session, traces, unit)

    def compare(self, sessions: Sequence[Session]) -> pd.DataFrame:
        """Mean forecast correlation on validation trials, a row a session, a column each for CalM and what to beat.

        That is the decay of each neuron to its mean, and a linear model of all neurons (`ridge VAR`; NaN for more than
        LARGEST_VAR). Test trials stay unseen.

        Raises:
            CalmError: a session that the model does not know.
        """
        forecast, rows = self.profile.forecast, {}
        for session in sessions:
            methods = {"CalM": self.forecaster(session), "decay": Decay().fit(session)}
            if len(session.neurons) <= LARGEST_VAR:
                methods["ridge VAR"] = RidgeVAR(self.profile.var, forecast).fit(session)
            rows[session.name] = {
                name: validation_correlation(each, session, forecast) for name, each in methods.items()
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    def embeddings(self, session: Session) -> Float[np.ndarray, "neuron channel"]:
        """The embedding of every neuron of a session.

        Raises:
            CalmError: a session that the model does not know.
        """
        self.check_known(session)
        model = self.transformer.model
        return model.neuron_embeddings[model.index[session.name]].detach().cpu().numpy()

    def check_known(self, session: Session) -> None:
        """Refuse a session that the transformer has no embeddings for, or that it was trained on with other numbers.

        Raises:
            CalmError: it has none, or the session is not prepared as then: with another seed, its test trials may
                have been trained on.
        """
        if self.sessions.get(session.name) != len(session.neurons):
            raise CalmError(
                f"The model does not know session {session.name} with {len(session.neurons)} neurons: `adapt` it."
            )
        known = self.preparations[session.name]
        if session.preparation != known:
            raise CalmError(
                f"Session {session.name} is {session.preparation or 'not prepared'}, but was {known} when the model was"
                f" trained: call `calm.prepare(session, seed={known.seed}, smoothing={known.smoothing})`."
            )

    def write_nwb(
        self,
        path: str | Path,
        session: Session,
        trials: Int[np.ndarray, " trial"],
        *,
        beyond: int = 0,
        choice: str = "expected",
        samples: int = 1,
    ) -> None:
        """Write what the model makes of some trials as a new NWB file, on the clock and in the unit of the recording.

        It has a RoiResponseSeries each for the `reconstruction` of the trials, the `forecast` of what comes after their
        context and, if `beyond` is not 0, the `forecast_beyond` their end; and the tables of neurons and trials.

        Args:
            path: of the file, which must not be there.
            session: prepared, read from a recording, and one of `sessions`.
            trials: indices of trials that do not overlap.
            beyond: frames after the end of each trial.
            choice, samples: see `forecast`.

        Raises:
            CalmError: as `forecast`, or see `calm.data.nwb_file.write_nwb`.
        """
        from calm.data.nwb_file import Stretches, write_nwb  # pynwb takes seconds to load

        how: dict[str, Any] = {"choice": choice, "samples": samples, "unit": "original"}
        context = np.full(len(trials), self.profile.forecast.context)
        series = {
            "reconstruction": Stretches(self.reconstruct(session, trials, unit="original"), trials, 0 * context),
            "forecast": Stretches(self.forecast(session, trials, **how), trials, context),
        }
        if beyond:
            after = self.forecast_beyond(session, trials, horizon=beyond, **how)
            series["forecast_beyond"] = Stretches(after, trials, session.frames[trials])
        write_nwb(Path(path), session, series)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and checksums into a folder, whole or not at all.

        A model that is there is replaced.

        Raises:
            CalmError: the folder cannot be written, or holds something else.
        """
        save_stages(Path(folder), self.profile, self.quantizer, self.transformer, self.preparations)

    @classmethod
    def load(cls, folder: str | Path) -> "CalM":
        """Read what `save` wrote; checksums are verified.

        Raises:
            CalmError: there is nothing, it is damaged, or another version of calm saved it.
        """
        return cls(*load_stages(Path(folder)))


def check_prepared(sessions: Sequence[Session], profile: Profile) -> None:
    """Refuse sessions that cannot be trained on.

    Raises:
        CalmError: they are not prepared, a trial has no token behind the context, or the context ends within one.
    """
    context, window = profile.forecast.context, profile.quantizer.window
    if context % window:
        raise CalmError(f"A `forecast.context` of {context} frames ends within a token: use a multiple of {window}.")
    shortest = context + window
    for session in sessions:
        if session.preparation is None:
            raise CalmError(f"Session {session.name} is not prepared: call `calm.prepare(session, seed=0)` first.")
        if session.frames.min() < shortest:
            raise CalmError(
                f"Session {session.name}: its shortest trial has {session.frames.min()} frames, but context and one"
                f" token need {shortest}: leave it out, or the profile a shorter `forecast.context`."
            )


def preparations_of(sessions: Sequence[Session]) -> dict[str, Preparation]:
    """How each of some prepared sessions was prepared."""
    return {session.name: session.preparation for session in sessions}


def verdict(scores: pd.Series) -> str:
    """Whether CalM forecasts better than what to beat, from the means of `CalM.compare`."""
    listed = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    rivals = scores.drop("CalM")
    best = rivals.idxmax()
    worse = "" if scores["CalM"] > rivals[best] else f"; {best} is as good or better: train longer, or on more trials"
    return f"Forecast correlation on validation trials: {listed}{worse}."
