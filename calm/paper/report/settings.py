"""What the numbers were made with: code, device and sizes, and the settings of every model (Tables 3-6)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from calm.paper.report.tables import markdown
from calm.profile import load_profile

PAPER = "paper"  # the profile with the tables as printed
SIZES = (  # what a reader has to know to judge the numbers; every other setting is in provenance.json
    *("simulation.seeds", "simulation.trials", "simulation.neurons", "simulation.frames"),
    *("cohort.session_share", "cohort.neuron_share", "cohort.trials"),
    *("quantizer.width", "quantizer.encoder_layers", "quantizer_fit.epochs"),
    *("dat.width", "dat.layers", "dat_fit.epochs", "forecast.context", "forecast.samples"),
)
TABLES: Mapping[
    str, Mapping[str, tuple[tuple[str, ...], ...]]
] = {  # by table and model: parts of a profile, side by side
    "table3": {
        "All forecasters": (("forecast",), ("learning_rates", "single_epochs")),
        "TCN": (("tcn",), ("tcn_fit",)),
        "PatchTST": (("patchtst",), ("patchtst_fit",)),
        "iTransformer": (("itransformer",), ("itransformer_fit",)),
        "POCO": (("poco",), ("poco_fit",)),
        "Ridge VAR (ours)": (("var",),),
    },
    "table4": {
        "GLM and RRR": (("ridge_decoder",),),
        "TCN": (("tcn_decoder",), ("tcn_decoder_fit",)),
        "POYO+, single recordings": (("poyo_single",), ("poyo_single_fit",)),
        "POYO+, many recordings": (("poyo",), ("poyo_fit",)),
        "CalM's heads": (("head",), ("head_fit",)),
        "CalM's neuron bank of held-out recordings": (("bank_fit",),),
    },
    "table5": {"NQ": (("quantizer",), ("quantizer_fit",))},
    "table6": {"DAT": (("dat",), ("dat_fit",))},
}
MECHANICS = ("devices", "validate_every", "checkpoint_every")  # of a fit; they change no result worth a row


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings under dotted names, as `dat_fit.epochs`."""
    return pd.json_normalize(dict(settings)).iloc[0].to_dict() if settings else {}


def setting_text(value: Any) -> str:
    """A value as short as it can be."""
    if isinstance(value, list):
        return ", ".join(map(setting_text, value))
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def block(profile: str, names: Sequence[str]) -> pd.DataFrame:
    """Some parts of a profile beside those of profile paper: a row a setting, in bold what differs."""
    here, paper = (flatten(load_profile(name).model_dump(mode="json", include=set(names))) for name in (profile, PAPER))
    shown = [name for name in here if name.split(".")[-1] not in MECHANICS]
    pairs = [(setting_text(here[name]), setting_text(paper[name])) for name in shown]
    columns = [
        [name.split(".")[-1] for name in shown],
        [ours if ours == theirs else f"**{ours}**" for ours, theirs in pairs],
        [theirs for _, theirs in pairs],
    ]
    return pd.DataFrame(dict(enumerate(columns))).set_axis([", ".join(names), profile, PAPER], axis=1)


def settings_table(profile: str, item: str) -> list[str]:
    """One of Tables 3-6 as paragraphs in Markdown: the profile's values beside those of profile paper."""
    parts = []
    for model, blocks in TABLES[item].items():
        both = pd.concat([block(profile, names) for names in blocks], axis=1).fillna("")
        parts += [f"**{model}**", markdown(both)]
    return parts


def distinct(entries: Sequence[dict[str, Any]], key: str) -> str:
    """The values of one provenance field over all items."""
    return ", ".join(dict.fromkeys(str(entry.get(key)) for entry in entries))


def commits(entries: Sequence[dict[str, Any]]) -> str:
    """The commits behind the items, each with a word on uncommitted changes."""
    named = [
        f"{entry['commit'][:12]}{' with uncommitted changes' * bool(entry['dirty'])}" if entry["commit"] else "unknown"
        for entry in entries
    ]
    return ", ".join(dict.fromkeys(named))


def used(entries: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Every setting with the values that the items were made with."""
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        for name, value in flatten(entry["config"]).items():
            found.setdefault(name, {})[str(value)] = None
    return {name: list(values) for name, values in found.items()}


def departures(profile: str, entries: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Settings that the numbers were made with and that are not the profile's."""
    flat = {name: str(value) for name, value in flatten(load_profile(profile).model_dump(mode="json")).items()}
    others = {name: [each for each in values if flat.get(name, each) != each] for name, values in used(entries).items()}
    return {name: ", ".join(values) for name, values in others.items() if values}


def made_with(profile: str, entries: Sequence[dict[str, Any]]) -> list[str]:
    """Code, device, time and sizes as a table in Markdown, and where the settings were not the profile's."""
    # Items of one notebook carry the same entry, and its wall time only once.
    runs = {json.dumps(entry, sort_keys=True): entry["wall_time_s"] for entry in entries}
    sizes = used(entries)
    facts = {
        "profile": profile,
        "commit": commits(entries),
        "device": distinct(entries, "device"),
        "threads": distinct(entries, "threads"),
        "date": distinct(entries, "date"),
        "wall time": f"{sum(runs.values()) / 60:.1f} min in all, without trainings that were found finished",
        **{name: ", ".join(sizes[name]) for name in SIZES if name in sizes},
    }
    parts = [markdown(pd.DataFrame(facts.items(), columns=["made with", "value"]))]
    if other := departures(profile, entries):
        listed = ", ".join(f"`{name}` {value}" for name, value in other.items())
        parts.append(
            "Some numbers were made with settings that are not the profile's, be it that the dataset sets them or that"
            f" the profile has changed since: {listed}."
        )
    return parts
