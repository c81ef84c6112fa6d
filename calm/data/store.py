"""Prepared sessions on the disk: read and prepared once, checked when loaded, their trials read when asked for."""

from pathlib import Path

import numpy as np
import pandas as pd

from calm.checkpoint import read_manifest, written_whole
from calm.data.session import Session
from calm.trialfile import TrialFile, write_trials

TRACES, BEHAVIOUR = "traces.bin", "behaviour.bin"
FIELDS = ("name", "subject", "rate", "behaviour_names")  # of a session, which a manifest can hold as they are


def store_session(folder: Path, session: Session) -> None:
    """Write a prepared session: traces and behaviour as float32, the tables in the manifest.

    Raises:
        CalmError: the folder cannot be written.
    """
    manifest = {field: getattr(session, field) for field in FIELDS}
    manifest |= {table: getattr(session, table).to_dict("list") for table in ("trials", "neurons")}
    with written_whole(folder, manifest) as partial:
        for file, arrays in ((TRACES, session.traces), (BEHAVIOUR, session.behaviour)):
            manifest[file] = write_trials(partial / file, (np.asarray(array, np.float32) for array in arrays))


def load_session(folder: Path) -> Session:
    """A stored session, whose traces and behaviour stay on the disk until they are asked for.

    Raises:
        CalmError: see `calm.checkpoint.read_manifest`.
    """
    manifest = read_manifest(folder)
    manifest["behaviour_names"] = tuple(manifest["behaviour_names"])
    return Session(
        **{field: manifest[field] for field in FIELDS},
        traces=TrialFile(folder / TRACES, "float32", manifest[TRACES]),
        behaviour=TrialFile(folder / BEHAVIOUR, "float32", manifest[BEHAVIOUR]),
        trials=pd.DataFrame(manifest["trials"]),
        neurons=pd.DataFrame(manifest["neurons"]),
    )
