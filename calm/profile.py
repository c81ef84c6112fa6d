"""The profiles: all the numbers of a run at one scale, kept in calm/profiles/*.yaml."""

import fnmatch
from importlib import resources
from typing import Any

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
    PatchesConfig,
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
from calm.user_yaml import parse_yaml


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
    trainings: int = pydantic.Field(1, ge=1)  # of every network that Figures 3B-3D, 4B and 4C compare
    var: VARConfig
    tcn: TCNConfig
    tcn_fit: FitConfig
    patchtst: PatchTSTConfig
    patchtst_fit: FitConfig
    itransformer: ITransformerConfig
    itransformer_fit: FitConfig
    poco: POCOConfig
    poco_fit: FitConfig
    patches: PatchesConfig
    patches_fit: FitConfig
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

    def seeds(self, first: int) -> range:
        """Of the trainings whose scores are averaged; the split into trials is that of the first for all of them."""
        return range(first, first + self.trainings)

    def shortened(self, share: float) -> "Profile":
        """For what learns from one session: a share of the steps of every fit, and as many validations."""
        fits = {name: value for name, value in self if isinstance(value, FitConfig)}
        return self.changed(**{name: fit.shortened(share) for name, fit in fits.items()})


def profile_names() -> list[str]:
    """The profiles that come with calm."""
    files = resources.files("calm.profiles").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_profile(words: str) -> Profile:
    """Read a profile by its name, which may be followed by what to change, as `quick dat.layers=3 *_fit.steps=2`.

    A change names one setting, or several with `*`; its value is YAML without spaces.

    Raises:
        CalmError: no such profile or setting, or a value that the setting cannot have.
    """
    name, *changes = words.split() or [""]
    if name not in profile_names():
        raise CalmError(f"There is no profile {name!r}: choose one of {', '.join(profile_names())}.")
    text = (resources.files("calm.profiles") / f"{name}.yaml").read_text()
    profile = Profile.model_validate(yaml.safe_load(text))
    for change in changes:
        profile = change_settings(profile, change)
    return profile


def change_settings(profile: Profile, change: str) -> Profile:
    """The profile with the settings changed that a word like `dat.layers=3` names.

    Raises:
        CalmError: no such setting, or a value that it cannot have.
    """
    pattern, equals, text = change.partition("=")
    chosen = fnmatch.filter(setting_names(profile), pattern)
    if not equals or not chosen:
        alike = fnmatch.filter(setting_names(profile), f"{pattern.split('.')[0]}.*") or list(dict(profile))
        raise CalmError(
            f"{change!r} names no setting of a profile: write one of {', '.join(alike)}, `=` and its value."
        )
    value = parse_yaml(text, f"The value of {change!r}")
    for name in chosen:
        profile = changed_setting(profile, name, value)
    return profile


def setting_names(profile: Profile) -> list[str]:
    """The dotted names of all settings."""
    return [
        f"{name}.{setting}" if setting else name
        for name, value in profile
        for setting in (type(value).model_fields if isinstance(value, Config) else [""])
    ]


def changed_setting(profile: Profile, name: str, value: Any) -> Profile:
    """The profile with one setting changed."""
    section, _, setting = name.partition(".")
    return profile.changed(**{section: getattr(profile, section).changed(**{setting: value}) if setting else value})
