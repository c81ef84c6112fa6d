"""All the numbers of a run at one scale, a profile, and of weights that ship, a recipe: calm/profiles, calm/weights."""

import fnmatch
from importlib import resources
from typing import Any

import pydantic
import yaml

from calm.config.base import AnyConfig, Config
from calm.config.fitting import AblationConfig, FitConfig, ForecastConfig
from calm.config.models import DATConfig, HeadConfig, PatchesConfig, QuantizerConfig
from calm.config.rivals import (
    ITransformerConfig,
    PatchTSTConfig,
    POCOConfig,
    POYOConfig,
    RidgeDecoderConfig,
    TCNConfig,
    TCNDecoderConfig,
    VARConfig,
)
from calm.config.synthetic import CohortConfig, CorpusConfig, SimulationConfig
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


class Recipe(Config):
    """All the numbers that weights for any recording are made with."""

    corpus: CorpusConfig  # that the quantizer is trained on
    quantizer: QuantizerConfig
    quantizer_fit: FitConfig
    populations: CorpusConfig  # that the transformer is trained on
    dat: DATConfig
    dat_fit: FitConfig
    finetune_fit: FitConfig
    forecast: ForecastConfig  # how its weights are chosen
    held_out: int = pydantic.Field(100, ge=1)  # other recordings of either corpus, that the weights are tested on


def names_in(package: str) -> list[str]:
    """The names of the settings that come with calm in a package."""
    files = resources.files(package).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def profile_names() -> list[str]:
    """The profiles that come with calm."""
    return names_in("calm.profiles")


def load_profile(words: str) -> Profile:
    """Read a profile by its name, which may be followed by what to change, as `quick dat.layers=3 *_fit.steps=2`.

    A change names one setting, or several with `*`; its value is YAML without spaces.

    Raises:
        CalmError: no such profile or setting, or a value that the setting cannot have.
    """
    return read_settings(words, Profile, "calm.profiles")


def load_recipe(words: str) -> Recipe:
    """Read the numbers of shipped weights by their name, with changes as for `load_profile`.

    Raises:
        CalmError: as `load_profile`.
    """
    return read_settings(words, Recipe, "calm.weights")


def read_settings(words: str, kind: type[AnyConfig], package: str) -> AnyConfig:
    """The settings of a name in a package, changed as the words after it say.

    Raises:
        CalmError: no such name or setting, or a value that the setting cannot have.
    """
    name, *changes = words.split() or [""]
    if name not in names_in(package):
        raise CalmError(f"There is no {kind.__name__.lower()} {name!r}: choose one of {', '.join(names_in(package))}.")
    settings = kind.model_validate(yaml.safe_load((resources.files(package) / f"{name}.yaml").read_text()))
    for change in changes:
        settings = change_settings(settings, change)
    return settings


def change_settings(settings: AnyConfig, change: str) -> AnyConfig:
    """The settings with those changed that a word like `dat.layers=3` names.

    Raises:
        CalmError: no such setting, or a value that it cannot have.
    """
    pattern, equals, text = change.partition("=")
    chosen = fnmatch.filter(setting_names(settings), pattern)
    if not equals or not chosen:
        alike = fnmatch.filter(setting_names(settings), f"{pattern.split('.')[0]}.*") or list(dict(settings))
        kind = type(settings).__name__.lower()
        raise CalmError(f"{change!r} names no setting of a {kind}: write one of {', '.join(alike)}, `=` and its value.")
    value = parse_yaml(text, f"The value of {change!r}")
    for name in chosen:
        settings = changed_setting(settings, name, value)
    return settings


def setting_names(settings: Config) -> list[str]:
    """The dotted names of all settings."""
    return [
        f"{name}.{setting}" if setting else name
        for name, value in settings
        for setting in (type(value).model_fields if isinstance(value, Config) else [""])
    ]


def changed_setting(settings: AnyConfig, name: str, value: Any) -> AnyConfig:
    """The settings with one of them changed."""
    section, _, setting = name.partition(".")
    changed = getattr(settings, section).changed(**{setting: value}) if setting else value
    return settings.changed(**{section: changed})
