"""CalM in a few lines: pretrain on sessions, adapt to new ones, forecast, save and load."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.baselines.linear import linear_scores
from calm.baselines.validation import validation_correlation
from calm.data.preparation import to_unit
from calm.data.session import Preparation, Session, cut_trials
from calm.errors import CalmError
from calm.models.heads import GLUHead
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import Choice
from calm.models.transformer import DualAxisTransformer
from calm.paths import RUNS
from calm.profile import Profile, load_profile
from calm.training.checks import check_known, check_positive, check_prepared, preparations_of
from calm.training.decoding import HeadDecoder, HeadTask
from calm.training.features import BackboneFeatures, FeatureSession
from calm.training.forecasting import CalMForecaster
from calm.training.reconstruction import reconstruct
from calm.training.saved import load_stages, save_stages
from calm.training.stages import Trained, train
from calm.training.tasks import FineTuningTask, TransformerTask, expected_time, train_quantizer


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
        cls,
        sessions: Sequence[Session],
        profile: Profile | str = "quick",
        *,
        quantizer: Trained[NeuralQuantizer] | None = None,
        seed: int = 0,
        runs: Path = RUNS,
    ) -> "CalM":
        """Train both stages on the training trials of prepared sessions (`calm.prepare`); found again if done before.

        First it prints how long this will take, from a few steps of both, and in the end how well it forecasts
        validation trials beside a decay and a linear model, see `compare`.

        Args:
            sessions: of any number of neurons each.
            profile: a name, or numbers of your own; its `forecast.context` must leave a token of every trial.
            quantizer: a ready one, as `calm.load_pretrained("small").quantizer`; None trains one on the sessions.
            seed: of everything random.
            runs: folder of all trainings; an interrupted one goes on.

        Raises:
            CalmError: sessions that are not prepared, or trials too short for the context.
        """
        profile = load_profile(profile) if isinstance(profile, str) else profile
        if quantizer:
            profile = profile.changed(quantizer=quantizer.model.config)
        check_prepared(sessions, profile)
        if told := expected_time(sessions, profile, quantizer, seed=seed, runs=runs):
            print(told)
        quantizer = quantizer or train_quantizer(sessions, profile, seed=seed, runs=runs)
        task = TransformerTask(quantizer, sessions, profile.dat, profile.forecast)
        trained = train(task, profile.dat_fit, seed=seed, runs=runs)
        model = cls(profile, quantizer, trained, preparations_of(sessions))
        print(verdict(model.compare(sessions).mean()))
        return model

    def adapt(self, sessions: Sequence[Session], *, seed: int = 0, runs: Path = RUNS) -> "CalM":
        """The same model, knowing new sessions too: only embeddings of these and their neurons are trained (Sec. 3.2).

        A session that it knows already is learned anew; all others are forecast as before.

        Raises:
            CalmError: as `pretrain`.
        """
        check_prepared(sessions, self.profile)
        task = TransformerTask(self.quantizer, sessions, self.profile.dat, self.profile.forecast)
        adapted = train(task, self.profile.dat_fit, seed=seed, runs=runs, pretrained=self.transformer)
        return self.knowing_also(adapted, sessions)

    def finetune(self, sessions: Sequence[Session], *, trunk: bool = True, seed: int = 0, runs: Path = RUNS) -> "CalM":
        """The same model, trained further on what its forecasts look like as traces; not in the paper.

        New subjects take three steps: `model.finetune(old).adapt(new).finetune(new, trunk=False)`. In the end it prints
        how well the sessions are forecast now, as `pretrain` does.

        Args:
            sessions: some of `sessions`.
            trunk: whether all is trained, so that the new model knows no others; or neuron and session embeddings only.
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
        alone = CalM(self.profile, self.quantizer, tuned, preparations_of(sessions))
        model = alone if trunk else self.knowing_also(tuned, sessions)
        print(f"Fine-tuned. {verdict(model.compare(sessions).mean())}")
        return model

    def knowing_also(self, trained: Trained[DualAxisTransformer], sessions: Sequence[Session]) -> "CalM":
        """A model of the sessions that were trained on this one's frozen trunk, and of all others that it knows."""
        trained.model.add_sessions_of(self.transformer.model)
        return CalM(self.profile, self.quantizer, trained, {**self.preparations, **preparations_of(sessions)})

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
            CalmError: a session that the model does not know; another `choice` or `unit`; no frames or rollouts.
        """
        check_positive(horizon=horizon, samples=samples)
        forecaster = self.forecaster(session, choice, samples)
        contexts, futures = cut_trials(session, trials, self.profile.forecast.context, horizon)
        horizons = [horizon or future.shape[1] for future in futures]
        return to_unit(session.neurons, forecaster.forecast(contexts, horizons), unit)

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
        check_positive(horizon=horizon, samples=samples)
        forecaster = self.forecaster(session, choice, samples)
        contexts = [session.traces[trial][:, -self.profile.forecast.context :] for trial in trials]
        return to_unit(session.neurons, forecaster.forecast(contexts, [horizon] * len(contexts)), unit)

    def sample(
        self,
        session: Session,
        trials: Int[np.ndarray, " trial"],
        *,
        horizon: int | None = None,
        samples: int = 100,
        unit: str = "z-score",
    ) -> list[Float[np.ndarray, "sample neuron _horizon"]]:
        """Possible futures after the context of some trials, one by one; the arguments are those of `forecast`.

        `calm.metrics.central_band(futures, 90)` gives the bounds of their middle 90 %. They lack what frames differ by
        within a token, see `calm.training.forecasting.CalMForecaster.sample`.

        Raises:
            CalmError: as `forecast`.
        """
        check_positive(horizon=horizon, samples=samples)
        contexts, futures = cut_trials(session, trials, self.profile.forecast.context, horizon)
        horizons = [horizon or future.shape[1] for future in futures]
        return to_unit(session.neurons, self.forecaster(session, "sample").sample(contexts, horizons, samples), unit)

    def fit_decoder(self, session: Session, *, seed: int = 0, runs: Path = RUNS) -> HeadDecoder:
        """A decoder of a session's behaviour, the GLU head on the frozen features (Eq. 16, Sec. 3.4); found again.

        Its `decode` makes behaviour of any traces of the session's neurons, both in z-scores.

        Raises:
            CalmError: a session that the model does not know, or that has no behaviour.
        """
        self.check_known(session)
        features = FeatureSession(session, BackboneFeatures(self.quantizer, self.transformer))
        task = HeadTask(GLUHead, self.profile.head, [features])
        head = train(task, self.profile.head_fit, seed=seed, runs=runs).model
        return HeadDecoder(head, features.extractor, session.name)

    def decode(
        self,
        session: Session,
        trials: Int[np.ndarray, " trial"],
        *,
        unit: str = "z-score",
        seed: int = 0,
        runs: Path = RUNS,
    ) -> list[Float[np.ndarray, "_frame behaviour"]]:
        """The behaviour in some trials, read from their traces by the decoder of `fit_decoder`; units as in `forecast`.

        Raises:
            CalmError: as `fit_decoder`; another unit; a trial shorter than a token.
        """
        decoder = self.fit_decoder(session, seed=seed, runs=runs)
        scores = [behaviour.T for behaviour in decoder.decode([session.traces[trial] for trial in trials])]
        return [behaviour.T for behaviour in to_unit(session.behaviour_scale, scores, unit)]

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
        return to_unit(session.neurons, traces, unit)

    def compare(self, sessions: Sequence[Session]) -> pd.DataFrame:
        """Mean forecast correlation on validation trials: a row for each session, a column for each method.

        Beside CalM there are those that it should beat, see `calm.baselines.linear.linear_forecasters`; what a session
        has none of is NaN. Test trials stay unseen.

        Raises:
            CalmError: a session that the model does not know.
        """
        forecast, rows = self.profile.forecast, {}
        for session in sessions:
            score = validation_correlation(self.forecaster(session), session, forecast)
            rows[session.name] = {"CalM": score, **linear_scores(session, self.profile.var, forecast)}
        return pd.DataFrame.from_dict(rows, orient="index")

    def embeddings(self, session: Session) -> Float[np.ndarray, "neuron channel"]:
        """What was learned of every neuron of a session; its loadings, which are not learned, are not in it.

        Raises:
            CalmError: a session that the model does not know.
        """
        self.check_known(session)
        model = self.transformer.model
        return model.neuron_embeddings[model.index[session.name]].detach().cpu().numpy()

    def check_known(self, session: Session) -> None:
        """Refuse a session that the transformer has no embeddings for, or that is not prepared as in its training.

        Raises:
            CalmError: see `calm.training.checks.check_known`.
        """
        check_known(session, self.sessions, self.preparations)

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
            CalmError: as `forecast`, or see `calm.data.readers.nwb_file.write_nwb`.
        """
        from calm.data.readers.nwb_file import Stretches, write_nwb  # pynwb takes seconds to load

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


def verdict(scores: pd.Series) -> str:
    """Whether CalM forecasts better than what to beat, from the means of `CalM.compare`."""
    listed = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    rivals = scores.drop("CalM")
    best = rivals.idxmax()
    worse = "" if scores["CalM"] > rivals[best] else f"; {best} is as good or better: train longer, or on more trials"
    return f"Forecast correlation on validation trials: {listed}{worse}."
