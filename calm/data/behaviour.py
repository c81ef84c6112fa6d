"""Which behaviour the sessions of a decoder have."""

from collections.abc import Sequence

import numpy as np

from calm.data.session import Session
from calm.errors import CalmError


def shared_behaviours(sessions: Sequence[Session]) -> tuple[str, ...]:
    """Names of the behavioural channels, which all sessions must have, with values to train on and to validate with.

    Raises:
        CalmError: a session without behaviour, or none in the trials of a split; sessions that differ in it.
    """
    first = sessions[0]
    for session in sessions:
        if not session.behaviour_names:
            raise CalmError(
                f"Session {session.name} has no behaviour to decode: name its series under `behaviour` in the dataset"
                " description."
            )
        if session.behaviour_names != first.behaviour_names:
            raise CalmError(
                f"Session {first.name} has the behaviour {', '.join(first.behaviour_names)}, but session"
                f" {session.name} has {', '.join(session.behaviour_names)}: train a decoder for each."
            )
        for split in ("train", "val"):
            if not any(np.isfinite(session.behaviour[trial]).any() for trial in session.trials_of(split)):
                raise CalmError(
                    f"Session {session.name}: no behaviour was recorded in its {split} trials: leave the session out."
                )
    return first.behaviour_names
