"""What is refused before a model is trained on sessions or used on one."""

from collections import Counter
from collections.abc import Mapping, Sequence

from calm.data.session import Preparation, Session
from calm.errors import CalmError
from calm.profile import Profile


def check_prepared(sessions: Sequence[Session], profile: Profile) -> None:
    """Refuse sessions that cannot be trained on.

    Raises:
        CalmError: they are not prepared, or two have one name; a trial has no token after the context, or the context
            ends within one.
    """
    context, window = profile.forecast.context, profile.quantizer.window
    if context % window:
        raise CalmError(f"A `forecast.context` of {context} frames ends within a token: use a multiple of {window}.")
    if repeated := [name for name, count in Counter(session.name for session in sessions).items() if count > 1]:
        raise CalmError(f"There are two sessions called {repeated[0]}: leave one out, or give it another name.")
    shortest = context + window
    for session in sessions:
        check_preparation(session)
        if session.frames.min() < shortest:
            raise CalmError(
                f"Session {session.name}: its shortest trial has {session.frames.min()} frames, but context and one"
                f" token need {shortest}: leave it out, or take a shorter context, as"
                ' `pretrain(sessions, "quick forecast.context=20")`.'
            )


def check_preparation(session: Session) -> None:
    """Refuse a session as it was recorded.

    Raises:
        CalmError: it is not prepared.
    """
    if session.preparation is None:
        raise CalmError(f"Session {session.name} is not prepared: call `calm.prepare(session, seed=0)` first.")


def check_positive(**numbers: int | None) -> None:
    """Refuse numbers of frames or rollouts that are none; None stands for a default.

    Raises:
        CalmError: one is below 1.
    """
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise CalmError(f"A `{name}` of {number} is none: take 1 or more.")


def preparations_of(sessions: Sequence[Session]) -> dict[str, Preparation]:
    """How each of some prepared sessions was prepared."""
    return {session.name: session.preparation for session in sessions}


def check_known(session: Session, neurons: Mapping[str, int], preparations: Mapping[str, Preparation]) -> None:
    """Refuse a session that a model was not trained on as it is.

    Args:
        session: to be used.
        neurons: number of neurons of each session that the model knows.
        preparations: how each of these was prepared.

    Raises:
        CalmError: the model knows no such session, or another preparation of it: with another seed, its test trials
            may have been trained on.
    """
    if neurons.get(session.name) != len(session.neurons):
        raise CalmError(
            f"The model does not know session {session.name} with {len(session.neurons)} neurons: `adapt` it."
        )
    known = preparations[session.name]
    if session.preparation != known:
        raise CalmError(
            f"Session {session.name} is {session.preparation or 'not prepared'}, but was {known} when the model was"
            f" trained: call `calm.prepare(session, seed={known.seed}, smoothing={known.smoothing})`."
        )
