"""A dataset description: which recordings, and what of them, as a small YAML file."""

import glob
import os
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from calm.config.base import Config, Names
from calm.data.dff import Baseline
from calm.data.intervals import Trials, Windows, length_alone
from calm.data.readers.pipelines import FOLDERS, NEUROPIL
from calm.data.recording import Kind, Value
from calm.errors import CalmError, one_line, reading
from calm.paths import ROOT, address_of
from calm.user_yaml import parse_yaml

Layout = Literal["nwb", "dandi_000579", "suite2p", "caiman", "csv", "npz"]
PLAIN = ("suite2p", "caiman", "csv", "npz")  # layouts whose files hold one recording and no trials
ENDINGS: Mapping[str, Layout] = {".csv": "csv", ".tsv": "csv", ".npz": "npz", ".nwb": "nwb", ".zarr": "nwb"}
LAYOUTS = {  # in which a key means something; the others in all
    "traces": ("nwb",),
    "behaviour": ("nwb", "dandi_000579", "csv", "npz"),
    "trials": ("nwb", *PLAIN),
    "windows": ("nwb", *PLAIN),
    "rate": PLAIN,
    "dff": ("nwb", *PLAIN),  # what `dandi_000579` has is dF/F
    "neuropil": ("suite2p",),
    "fill_gaps": ("nwb", *PLAIN),  # of `dandi_000579` only the frames of trials are read
}
Values = Annotated[
    tuple[Value, ...], pydantic.BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))
]
Behaviour = Annotated[
    dict[str, Kind | None],  # None is a guess
    pydantic.BeforeValidator(
        lambda value: (
            dict.fromkeys([value] if isinstance(value, str) else value)
            if isinstance(value, str | list | tuple)
            else value
        )
    ),
]
Cut = Annotated[Windows, pydantic.BeforeValidator(length_alone)]
TrialSource = Annotated[
    Trials, pydantic.BeforeValidator(lambda value: {"tables": value} if isinstance(value, str | list) else value)
]


class Dataset(Config):
    """What a description says; data/README.md explains each key."""

    name: str
    files: Annotated[Names, pydantic.Field(min_length=1)]  # patterns, relative to `folder`
    layout: Layout = "nwb"  # unless the names of the files tell another
    traces: Annotated[Names, pydantic.Field(min_length=1)] | None = None
    exclude: Names = ()  # sessions, by name or file
    behaviour: Behaviour | None = None  # the default of the layout
    conditions: Names = ()
    trials: TrialSource | None = None
    windows: Cut | None = None
    rate: float | None = pydantic.Field(None, gt=0)  # frames per second, where a file does not say
    resample: float | None = pydantic.Field(None, gt=0)  # frames per second to bring a recording to
    keep: Mapping[str, Values] | None = None  # cells, where a file tells
    neuropil: float = pydantic.Field(NEUROPIL, ge=0)
    dff: Baseline | bool | None = None  # for Suite2p only
    context: int | None = pydantic.Field(None, ge=1)  # frames; the profile's
    horizon: int | None = pydantic.Field(None, ge=1)  # frames; the profile's, else to the end of the shortest trial
    held_out: Names = ()
    smoothing: float = pydantic.Field(1.0, gt=0, le=1)
    min_frames: int | None = pydantic.Field(None, ge=1)
    max_frames: int | None = pydantic.Field(None, ge=1)
    fill_gaps: int = pydantic.Field(0, ge=0)  # frames
    bad_neurons: Literal["refuse", "drop"] = "refuse"
    folder: Path = pydantic.Field(Path(), exclude=True)  # where the description lies; no key of it

    @pydantic.model_validator(mode="before")
    @classmethod
    def _told_by_files(cls, content: Any) -> Any:
        """The layout that the names of the files tell, and windows where files hold no trials and none are named."""
        if not isinstance(content, dict):
            return content
        files = content.get("files")
        patterns = [files] if isinstance(files, str) else files if isinstance(files, list | tuple) else []
        layouts = {layout_named(pattern) for pattern in patterns if isinstance(pattern, str)}
        if len(layouts) > 1 and "layout" not in content:
            kinds = " and ".join(sorted(layouts))
            raise ValueError(f"`files` look like {kinds}, but a dataset has one `layout`: describe them apart")
        content = ({"layout": layouts.pop()} if len(layouts) == 1 else {}) | content
        uncut = content.get("trials") is None and content.get("windows") is None
        return content | {"windows": {}} if content.get("layout") in PLAIN and uncut else content

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Dataset":
        if self.min_frames and self.max_frames and self.min_frames > self.max_frames:
            raise ValueError(f"`min_frames` {self.min_frames} is more than `max_frames` {self.max_frames}: change one")
        for key, layouts in LAYOUTS.items():
            if self.layout not in layouts and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"`{key}` has no meaning with `layout` {self.layout}: leave it out")
        if self.layout != "nwb" and any((self.behaviour or {}).values()):
            raise ValueError(f"kinds of `behaviour` have no meaning with `layout` {self.layout}: give a list of names")
        if self.trials is not None and self.windows is not None:
            raise ValueError("a recording is cut into `trials` or into `windows`, not into both: leave one out")
        if self.layout == "suite2p" and self.rate is None:
            raise ValueError("`layout` suite2p needs `rate`, the frames per second of a plane: add it")
        if self.layout in PLAIN and any(address_of(Path(pattern)) for pattern in self.files):
            raise ValueError(f"`layout` {self.layout} is read from files, not from an address: download them")
        return self

    @property
    def has_behaviour(self) -> bool:
        """Whether there is anything to decode; the paper's layout has its own default."""
        return self.layout == "dandi_000579" if self.behaviour is None else bool(self.behaviour)

    def paths(self) -> list[Path]:
        """The files that the patterns match, sorted.

        Raises:
            CalmError: an environment variable is not set, or a pattern matches no file.
        """
        paths = set()
        for pattern in self.files:
            if address_of(Path(pattern)):
                paths.add(Path(expand(pattern)))
                continue
            where = str(self.folder / expand(pattern))
            files = [Path(match) for match in glob.glob(where, recursive=True) if self.may_read(match)]
            if not files:
                kind = "folder" if self.layout == "suite2p" else "file"
                raise CalmError(f"No {kind} matches {where!r}: correct `files` of {self.name}.")
            paths.update(files)
        return sorted(paths)

    def may_read(self, path: str) -> bool:
        """Whether a path may be a recording: a file, but a folder for Suite2p, and for NWB in Zarr."""
        if self.layout == "suite2p":
            return os.path.isdir(path)
        return os.path.isfile(path) or path.endswith(".zarr")


def layout_named(pattern: str) -> Layout:
    """The layout that files are mostly of whose names match a pattern."""
    name = Path(pattern)
    return "suite2p" if FOLDERS.fullmatch(name.name) else ENDINGS.get(name.suffix, "nwb")


KEYS = tuple(name for name in Dataset.model_fields if name != "folder")


def expand(pattern: str) -> str:
    """The pattern with `$VARIABLE`, which must be set, and a leading `~` filled in."""
    try:
        return os.path.expanduser(string.Template(pattern).substitute(os.environ))
    except KeyError as error:
        name = error.args[0]
        raise CalmError(f"{pattern!r} needs the environment variable {name}: `export {name}=/folder`.") from error
    except ValueError as error:
        raise CalmError(f"{pattern!r} has a lone `$`: write `$$` for a dollar sign.") from error


def describe(content: dict[str, Any], where: str) -> Dataset:
    """A Dataset from keys and values; `where` says in messages whose they are.

    Raises:
        CalmError: an unknown or missing key, or a value of a wrong type; the first mistake is told.
    """
    try:
        return Dataset.model_validate(content)
    except pydantic.ValidationError as error:
        raise CalmError(f"{where}: {explain(error.errors()[0])}.") from error


def explain(mistake: Any) -> str:
    """One of pydantic's error details in a few words, with what to do."""
    key, value = one_line(".".join(map(str, mistake["loc"])), 100), one_line(repr(mistake["input"]), 100)
    match mistake["type"]:
        case "extra_forbidden" if len(mistake["loc"]) > 1:
            return f"there is no key `{key}`: data/README.md lists those of `{mistake['loc'][0]}`"
        case "extra_forbidden":
            return f"there is no key `{key}`: the keys are {', '.join(KEYS)}"
        case "missing":
            return f"the key `{key}` is missing: add it"
        case "string_type":
            return f"`{key}` is {value}: put names and ids in quotes"
        case "value_error":
            return str(mistake["ctx"]["error"])
        case _:
            return f"`{key}` is {value}: {mistake['msg'].lower().replace('input', 'it')}"


def load_dataset(path: str | Path) -> Dataset:
    """Read a description; its name is the file's unless it says another.

    Args:
        path: from the current folder or else, as Jupyter's is that of the notebook, from the project's.

    Raises:
        CalmError: the file is missing, is no YAML, see `parse_yaml`, or has an unknown key or a value of a wrong type.
    """
    asked, path = path, next((each for each in (Path(path), ROOT / path) if each.is_file()), None)
    if path is None:
        raise CalmError(f"There is no dataset description {asked}: check the path.")
    with reading(path):
        content = parse_yaml(path.read_bytes(), path)
    if not isinstance(content, dict):
        raise CalmError(f"{path} holds no `key: value` lines: write a description as in data/README.md.")
    if "folder" in content:
        raise CalmError(
            f"{path.name}: there is no key `folder`: `files` are relative to the folder of the description."
        )
    return describe({"name": path.stem, **content, "folder": path.parent}, path.name)


def states(path: Path) -> list[list[str | int]]:
    """Name, size and time of change of a file, or of each in a folder: what tells whether they are still the same.

    Raises:
        CalmError: a file on the web cannot be reached.
    """
    if address := address_of(path):
        return [[address, *state_of(address)]]
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return [[str(each), each.stat().st_size, each.stat().st_mtime_ns] for each in files]


def state_of(address: str) -> list[str | int]:
    """Size and version of a file on the web, as far as its server tells them.

    Raises:
        CalmError: it cannot be reached.
    """
    from fsspec.implementations.http import HTTPFileSystem  # takes a while to load

    try:
        about = HTTPFileSystem().info(address)
    except OSError as error:
        raise CalmError(f"{address} cannot be reached ({error.__cause__ or error}): check it and the net.") from None
    return [about.get("size") or 0, about.get("ETag", about.get("Last-Modified", ""))]
