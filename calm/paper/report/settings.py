"""What the numbers were made with: code, device and sizes, and the settings of every model (Tables 3-6)."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from calm.paper.report.tables import escape, markdown
from calm.profile import load_profile

PAPER = "paper"  # the profile with the tables as printed
SIZES = (  # what a reader has to know to judge the numbers; every other setting is in provenance.json
    *("simulation.seeds", "simulation.trials", "simulation.neurons", "simulation.frames"),
    *("cohort.session_share", "cohort.neuron_share", "cohort.trials"),
    *("quantizer.width", "quantizer.encoder_layers", "quantizer_fit.steps"),
    *("dat.width", "dat.layers", "dat_fit.steps", "forecast.context", "forecast.samples"),
)
MECHANICS = ("validate_every",)  # of a fit; they change no result worth a row


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings under dotted names, as `dat_fit.steps`."""
    return pd.json_normalize(dict(settings)).iloc[0].to_dict() if settings else {}


@functools.cache
def profile_settings(profile: str) -> dict[str, Any]:
    """All settings of a profile under dotted names."""
    return flatten(load_profile(profile).model_dump(mode="json"))


def setting_text(value: Any) -> str:
    """A value as short as it can be."""
    if isinstance(value, list):
        return ", ".join(map(setting_text, value))
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def settings_tables(profile: str, models: Mapping[str, Sequence[str]]) -> list[str]:
    """The settings of some models in Markdown: the profile's beside those of profile paper, in bold what differs.

    `models` has the sections of a profile that each of them has its settings in, as `Item.settings`.
    """
    here, paper = profile_settings(profile), profile_settings(PAPER)
    parts = []
    for model, sections in models.items():
        names = [name for name in here if name.split(".")[0] in sections and name.split(".")[-1] not in MECHANICS]
        pairs = [(escape(setting_text(here[name])), escape(setting_text(paper[name]))) for name in names]
        ours = [value if value == other else f"**{value}**" for value, other in pairs]
        columns = {"setting": names, f"profile {profile}": ours, f"profile {PAPER}": [other for _, other in pairs]}
        parts += [f"**{model}**", markdown(pd.DataFrame(columns), markup=list(columns)[1:])]
    return parts


def distinct(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The values that each field of the provenance has over all items, under dotted names as `config.dat.width`."""
    values: dict[str, dict[str, None]] = {}
    for entry in entries:
        for name, value in flatten(entry).items():
            values.setdefault(name, {})[str(value)] = None
    return {name: list(texts) for name, texts in values.items()}


def commit_text(entry: Mapping[str, Any]) -> str:
    """The commit behind an item, with a word on uncommitted changes."""
    changes = " with uncommitted changes" if entry["dirty"] else ""
    return f"{entry['commit'][:12]}{changes}" if entry["commit"] else "unknown"


def departures(profile: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Settings that the numbers were made with and that are not the profile's."""
    made = distinct([entry["config"] for entry in entries])
    expected = {name: str(value) for name, value in profile_settings(profile).items()}
    others = {name: [text for text in made.get(name, []) if text != expected[name]] for name in expected}
    return {name: texts for name, texts in others.items() if texts}


def made_with(profile: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Code, device, time and sizes as a table in Markdown, and where the settings were not the profile's."""
    # From the start of a notebook until each of its results: of one notebook they overlap, and have no sum.
    longest = max(entry["wall_time_s"] for entry in entries)
    values = distinct(entries)
    facts = {
        "profile": profile,
        "commit": ", ".join(dict.fromkeys(map(commit_text, entries))),
        **{name: ", ".join(values[name]) for name in ("device", "threads", "date")},
        "wall time": f"{longest / 60:.1f} min, the longest from the start of a notebook to a result",
        **{name: ", ".join(values[f"config.{name}"]) for name in SIZES if f"config.{name}" in values},
    }
    parts = [markdown(pd.DataFrame(facts.items(), columns=["made with", "value"]))]
    if other := departures(profile, entries):
        listed = ", ".join(f"{escape(name)} {escape(', '.join(texts))}" for name, texts in other.items())
        parts.append(
            "Some numbers were made with settings that are not the profile's, be it that the dataset sets them or that"
            f" the profile has changed since: {listed}."
        )
    return parts
