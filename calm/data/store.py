"""Prepared sessions on the disk: read and prepared once, checked when loaded, their trials read when asked for."""

from pathlib import Path

import numpy as np
import pandas as pd

from calm.data.session import Preparation, Session
from calm.storage import load_trials, save_trials

FIELDS = ("name", "subject", "rate", "behaviour_names", "unit")  # of a session, which a manifest can hold as they are
TABLES = ("trials", "neurons", "behaviour_scale")


def store_session(folder: Path, session: Session) -> None:
    """Write a prepared session: traces and behaviour as float32, the tables in the manifest."""
    manifest = {field: getattr(session, field) for field in FIELDS}
    manifest["preparation"] = session.preparation.model_dump()
    manifest["tables"] = {table: getattr(session, table).to_dict("list") for table in TABLES}
    arrays = {"traces": session.traces, "behaviour": session.behaviour}
    save_trials(folder, {name: (np.asarray(each, np.float32) for each in arrays[name]) for name in arrays}, manifest)


def load_session(folder: Path) -> Session:
    """A stored session, checked; its traces and behaviour stay on the disk until they are asked for."""
    files, manifest = load_trials(folder)
    manifest["behaviour_names"] = tuple(manifest["behaviour_names"])
    return Session(
        **{field: manifest[field] for field in FIELDS},
        **files,
        **{table: pd.DataFrame(manifest["tables"][table]) for table in TABLES},
        preparation=Preparation(**manifest["preparation"]),
    )
