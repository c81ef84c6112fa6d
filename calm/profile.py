"""The profiles: all the numbers of a run at one scale, kept in calm/profiles/*.yaml."""

from importlib import resources

import pydantic
import yaml

from calm.config import (
    AblationConfig,
    CohortConfig,
    Config,
    DATConfig,
    FitConfig,
    ForecastConfig,
    HeadConfig,
    ITransformerConfig,
    PatchTSTConfig,
    POCOConfig,
    POYOConfig,
    QuantizerConfig,
    RidgeDecoderConfig,
    SimulationConfig,
    TCNConfig,
    TCNDecoderConfig,
    VARConfig,
)
from calm.errors import CalmError


class Profile(Config):
    """All the numbers of a run at one scale."""

    simulation: SimulationConfig
    cohort: CohortConfig
    quantizer: QuantizerConfig
    quantizer_fit: FitConfig
    dat: DATConfig
    dat_fit: FitConfig
    finetune_fit: FitConfig
    forecast: ForecastConfig
    learning_rates: tuple[float, ...] = pydantic.Field((1.0,), min_length=1)  # factors that each network is tried with
    simulation_share: float = pydantic.Field(1.0, gt=0, le=1)  # of the steps of a fit, for a simulated recording
    single_share: float = pydantic.Field(1.0, gt=0, le=1)  # and for a single session of other recordings
    var: VARConfig
    tcn: TCNConfig
    tcn_fit: FitConfig
    patchtst: PatchTSTConfig
    patchtst_fit: FitConfig
    itransformer: ITransformerConfig
    itransformer_fit: FitConfig
    poco: POCOConfig
    poco_fit: FitConfig
    head: HeadConfig
    head_fit: FitConfig
    bank_fit: FitConfig  # of new sessions' rows of the neuron bank alone
    ridge_decoder: RidgeDecoderConfig
    tcn_decoder: TCNDecoderConfig
    tcn_decoder_fit: FitConfig
    poyo_single: POYOConfig  # of one session
    poyo_single_fit: FitConfig
    poyo: POYOConfig  # of many
    poyo_fit: FitConfig
    ablation: AblationConfig
    shuffles: int = pydantic.Field(999, ge=1)  # of the tuning of neurons, and of trials
    refits: int = pydantic.Field(99, ge=1)  # shuffles of mouse, area or layer: each takes several classifiers

    def shortened(self, share: float) -> "Profile":
        """For what learns from one session: a share of the steps of every fit, and as many validations."""
        fits = {name: value for name, value in self if isinstance(value, FitConfig)}
        return self.changed(**{name: fit.shortened(share) for name, fit in fits.items()})


def profile_names() -> list[str]:
    """The profiles that come with calm."""
    files = resources.files("calm.profiles").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_profile(name: str) -> Profile:
    """Read a profile by its name.

    Raises:
        CalmError: no such profile.
    """
    if name not in profile_names():
        raise CalmError(f"There is no profile {name!r}: choose one of {', '.join(profile_names())}.")
    text = (resources.files("calm.profiles") / f"{name}.yaml").read_text()
    return Profile.model_validate(yaml.safe_load(text))
