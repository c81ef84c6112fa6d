"""A dataset description: which recordings, and what of them, as a small YAML file; and the sessions it names."""

import dataclasses
import glob
import os
import string
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import yaml
from tqdm import tqdm

from calm.config import Config, Names
from calm.data.session import Session, bad_neurons, describe_neurons, drop_neurons, validate
from calm.errors import CalmError

Layout = Literal["nwb", "dandi_000579"]


class Dataset(Config):
    """What a description says; data/README.md explains each key."""

    name: str
    files: Annotated[Names, pydantic.Field(min_length=1)]  # patterns, relative to `folder`
    layout: Layout = "nwb"
    traces: Names | None = None
    behaviour: Names | None = None  # the default of the layout
    conditions: Names = ()
    context: int | None = pydantic.Field(None, ge=1)  # frames; the profile's
    horizon: int | None = pydantic.Field(None, ge=1)  # frames; the profile's, else to the end of the shortest trial
    held_out: Names = ()
    smoothing: float = pydantic.Field(1.0, gt=0, le=1)
    min_frames: int | None = pydantic.Field(None, ge=1)
    max_frames: int | None = pydantic.Field(None, ge=1)
    bad_neurons: Literal["refuse", "drop"] = "refuse"
    folder: Path = pydantic.Field(Path(), exclude=True)  # where the description lies; no key of it

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Dataset":
        if self.min_frames and self.max_frames and self.min_frames > self.max_frames:
            raise ValueError(f"`min_frames` {self.min_frames} is more than `max_frames` {self.max_frames}")
        if self.layout != "nwb" and self.traces is not None:
            raise ValueError(f"`traces` has no meaning with `layout` {self.layout}, whose traces are always the same")
        return self

    def paths(self) -> list[Path]:
        """The files that the patterns match, sorted.

        Raises:
            CalmError: an environment variable is not set, or a pattern matches no file.
        """
        paths = set()
        for pattern in self.files:
            where = str(self.folder / expand(pattern))
            files = [Path(match) for match in glob.glob(where, recursive=True) if os.path.isfile(match)]
            if not files:
                raise CalmError(f"No file matches {where!r}: correct `files` of {self.name}.")
            paths.update(files)
        return sorted(paths)


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
    key = ".".join(map(str, mistake["loc"]))
    match mistake["type"]:
        case "extra_forbidden":
            return f"there is no key `{key}`: the keys are {', '.join(KEYS)}"
        case "missing":
            return f"the key `{key}` is missing: add it"
        case "string_type":
            return f"`{key}` is {mistake['input']!r}: put names and ids in quotes"
        case "value_error":
            return f"{mistake['ctx']['error']}: change one of them"
        case _:
            return f"`{key}` is {mistake['input']!r}: {mistake['msg'].lower().replace('input', 'it')}"


def load_dataset(path: str | Path) -> Dataset:
    """Read a description; its name is the file's unless it says another.

    Raises:
        CalmError: the file is missing, is not YAML, or has an unknown key or a value of a wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise CalmError(f"There is no dataset description {path}: check the path.")
    try:
        content = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise CalmError(f"{path} is not valid YAML{line}: correct it, see data/README.md.") from error
    if not isinstance(content, dict):
        raise CalmError(f"{path} holds no `key: value` lines: write a description as in data/README.md.")
    if "folder" in content:
        raise CalmError(
            f"{path.name}: there is no key `folder`: `files` are relative to the folder of the description."
        )
    return describe({"name": path.stem, **content, "folder": path.parent}, path.name)


def read_sessions(dataset: Dataset, read: Callable[[Path], Session]) -> list[Session]:
    """All sessions of a dataset; `read` makes one of a file.

    Raises:
        CalmError: two sessions have one name, or a held-out subject has no session.
    """
    sessions: dict[str, Session] = {}
    sources: dict[str, Path] = {}
    for path in tqdm(dataset.paths(), desc=f"Reading {dataset.name}", unit="session"):
        session = read(path)
        if session.name in sessions:
            raise CalmError(
                f"{sources[session.name]} and {path} are both session {session.name!r}: leave one out, or give it"
                " another session_id."
            )
        sessions[session.name], sources[session.name] = session, path
    subjects = {session.subject for session in sessions.values()}
    if unknown := [subject for subject in dataset.held_out if subject not in subjects]:
        raise CalmError(
            f"{dataset.name}: no session has the held-out subject {unknown[0]!r}: choose `held_out` among"
            f" {', '.join(sorted(subjects))}."
        )
    return list(sessions.values())


def load_sessions(
    files: str | Sequence[str],
    *,
    layout: Layout = "nwb",
    traces: str | Sequence[str] | None = None,
    behaviour: str | Sequence[str] | None = None,
    conditions: str | Sequence[str] = (),
    min_frames: int | None = None,
    max_frames: int | None = None,
    bad_neurons: Literal["refuse", "drop"] = "refuse",
) -> list[Session]:
    """Read sessions without a description: `load_sessions("recordings/*.nwb", behaviour="lick")`.

    The arguments are the keys of a description (data/README.md); the patterns are relative to the current folder.

    Raises:
        CalmError: see `read_sessions`.
    """
    content = {
        "name": "load_sessions",
        "files": files,
        "layout": layout,
        "traces": traces,
        "behaviour": behaviour,
        "conditions": conditions,
        "min_frames": min_frames,
        "max_frames": max_frames,
        "bad_neurons": bad_neurons,
    }
    dataset = describe(content, "load_sessions")
    return read_sessions(dataset, lambda path: read_checked(path, dataset, min_frames=1))


def read_checked(path: Path, dataset: Dataset, *, min_frames: int) -> Session:
    """The session of one file as recorded, not smoothed, not z-scored; trials and neurons left out as it says.

    Raises:
        CalmError: the file or session is unusable, see the readers of the layouts and `calm.data.session.validate`.
    """
    session = keep_trials(read_file(path, dataset), dataset.min_frames, dataset.max_frames)
    if dataset.bad_neurons == "drop":
        session = without_bad_neurons(session)
    validate(session, min_frames=min_frames)
    return session


def read_file(path: Path, dataset: Dataset) -> Session:
    """The session of one file, read as the layout of the dataset says."""
    # A description is read without pynwb, which takes seconds to load.
    from calm.data.dandi_000579 import BEHAVIOUR, read_dandi_session
    from calm.data.nwb import read_session

    if dataset.layout == "nwb":
        behaviour = dataset.behaviour or ()
        return read_session(path, traces=dataset.traces, behaviour=behaviour, conditions=dataset.conditions)
    return read_dandi_session(
        path,
        behaviour=BEHAVIOUR if dataset.behaviour is None else dataset.behaviour,
        conditions=dataset.conditions,
        min_frames=dataset.min_frames,
        max_frames=dataset.max_frames,
    )


def keep_trials(session: Session, min_frames: int | None, max_frames: int | None) -> Session:
    """The session without the trials that are shorter or longer than wanted; None sets no limit.

    Raises:
        CalmError: no trial is left.
    """
    shortest, longest = min_frames or 0, max_frames or np.inf
    keep = np.flatnonzero((session.frames >= shortest) & (session.frames <= longest))
    if not len(keep):
        raise CalmError(
            f"Session {session.name}: its trials have {session.frames.min()} to {session.frames.max()} frames, none of"
            f" them between {shortest} and {longest}: change `min_frames` or `max_frames`."
        )
    return dataclasses.replace(
        session,
        traces=tuple(session.traces[trial] for trial in keep),
        behaviour=tuple(session.behaviour[trial] for trial in keep),
        trials=session.trials.iloc[keep].reset_index(drop=True),
    )


def without_bad_neurons(session: Session) -> Session:
    """The session without NaN and constant neurons; a warning says which."""
    bad = np.sort(np.concatenate(bad_neurons(session)))
    if len(bad):
        text = f"Session {session.name}: left out {describe_neurons(bad)} with NaN or constant traces."
        warnings.warn(text, stacklevel=2)
    return drop_neurons(session, bad)
