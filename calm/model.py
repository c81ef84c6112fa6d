"""CalM in a few lines: pretrain on sessions, adapt to new ones, forecast, save and load."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from calm.data.session import Session, cut_trials
from calm.devices import best_device
from calm.errors import CalmError
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import Choice
from calm.models.transformer import DualAxisTransformer
from calm.paths import RUNS
from calm.profile import Profile, load_profile
from calm.storage import load_checkpoint, save_checkpoint
from calm.training.finetuning import FineTuningTask
from calm.training.forecasting import CalMForecaster
from calm.training.stages import Trained, train
from calm.training.tasks import TransformerTask, train_quantizer

STAGES = ("quantizer", "transformer")


@dataclasses.dataclass(frozen=True, eq=False)
class CalM:
    """A quantizer and a transformer that know some sessions.

    Attributes:
        profile: the numbers that they were made with.
        quantizer: stage 1.
        transformer: stage 2.
    """

    profile: Profile
    quantizer: Trained[NeuralQuantizer]
    transformer: Trained[DualAxisTransformer]

    @classmethod
    def pretrain(
        cls, sessions: Sequence[Session], profile: Profile | str = "quick", *, seed: int = 0, runs: Path = RUNS
    ) -> "CalM":
        """Train both stages on the training trials of prepared sessions (`calm.prepare`); found again if done before.

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
        return cls(profile, quantizer, train(task, profile.dat_fit, seed=seed, runs=runs))

    def adapt(self, sessions: Sequence[Session], *, seed: int = 0, runs: Path = RUNS) -> "CalM":
        """The same model for new sessions: only their neuron and session embeddings are trained (Sec. 3.2).

        Raises:
            CalmError: as `pretrain`.
        """
        check_prepared(sessions, self.profile)
        task = TransformerTask(self.quantizer, sessions, self.profile.dat, self.profile.forecast)
        adapted = train(task, self.profile.dat_fit, seed=seed, runs=runs, pretrained=self.transformer)
        return CalM(self.profile, self.quantizer, adapted)

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
        return CalM(self.profile, self.quantizer, tuned)

    @property
    def sessions(self) -> dict[str, int]:
        """The sessions that the transformer knows, with the number of neurons of each."""
        model = self.transformer.model
        return {name: len(model.neuron_embeddings[index]) for name, index in model.index.items()}

    def forecast(
        self,
        session: Session,
        trials: Int[np.ndarray, " trial"],
        *,
        horizon: int | None = None,
        choice: Choice = "expected",
        samples: int = 1,
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """What the neurons do after the context of some trials, in z-scores.

        Args:
            session: prepared, and one of `sessions`.
            trials: indices.
            horizon: frames; None goes to the end of each trial.
            choice: what is fed back after each token; with `sample`, the mean of `samples` rollouts.
            samples: rollouts.

        Raises:
            CalmError: a session that the model does not know.
        """
        self.check_known(session)
        contexts, futures = cut_trials(session, trials, self.profile.forecast.context, horizon)
        horizons = [horizon or future.shape[1] for future in futures]
        models = self.transformer.model, self.quantizer.model
        forecaster = CalMForecaster(*models, session.name, self.profile.forecast, choice=choice, samples=samples)
        return forecaster.forecast(contexts, horizons)

    def embeddings(self, session: Session) -> Float[np.ndarray, "neuron channel"]:
        """The embedding of every neuron of a session.

        Raises:
            CalmError: a session that the model does not know.
        """
        self.check_known(session)
        model = self.transformer.model
        return model.neuron_embeddings[model.index[session.name]].detach().cpu().numpy()

    def check_known(self, session: Session) -> None:
        """Refuse a session that the transformer has no embeddings for.

        Raises:
            CalmError: it has none.
        """
        if self.sessions.get(session.name) != len(session.neurons):
            raise CalmError(
                f"The model does not know session {session.name} with {len(session.neurons)} neurons: `adapt` it."
            )

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and checksums into a folder, whole or not at all.

        Raises:
            CalmError: the folder cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        manifest: dict[str, Any] = {"profile": self.profile.model_dump(mode="json"), "sessions": self.sessions}
        for stage in STAGES:
            trained: Trained[Any] = getattr(self, stage)
            weights = trained.model.state_dict()
            tensors |= {f"{stage}.{name}": value.detach().clone() for name, value in weights.items()}
            manifest[stage] = {"key": trained.key, "history": trained.history.to_dict("list")}
        save_checkpoint(Path(folder), tensors, manifest)

    @classmethod
    def load(cls, folder: str | Path) -> "CalM":
        """Read what `save` wrote; checksums are verified.

        Raises:
            CalmError: there is nothing, or it is damaged.
        """
        tensors, manifest = load_checkpoint(Path(folder))
        profile = Profile.model_validate(manifest["profile"])
        quantizer = NeuralQuantizer(profile.quantizer)
        transformer = DualAxisTransformer(profile.dat, quantizer.codebook.vectors.detach(), manifest["sessions"])
        stages = {}
        for stage, model in zip(STAGES, (quantizer, transformer), strict=True):
            prefix, about = f"{stage}.", manifest[stage]
            weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            model.load_state_dict(weights)
            stages[stage] = Trained(model.to(best_device()).eval(), pd.DataFrame(about["history"]), about["key"])
        return cls(profile, **stages)


def check_prepared(sessions: Sequence[Session], profile: Profile) -> None:
    """Refuse sessions that cannot be trained on.

    Raises:
        CalmError: they are not prepared, or a trial has no token behind the context.
    """
    shortest = profile.forecast.context + profile.quantizer.window
    for session in sessions:
        if "split" not in session.trials:
            raise CalmError(f"Session {session.name} is not prepared: call `calm.prepare(session, seed=0)` first.")
        if session.frames.min() < shortest:
            raise CalmError(
                f"Session {session.name}: its shortest trial has {session.frames.min()} frames, but context and one"
                f" token need {shortest}: leave it out, or the profile a shorter `forecast.context`."
            )
