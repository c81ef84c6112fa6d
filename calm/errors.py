"""The one exception for what a user can mend."""


class CalmError(ValueError):
    """A mistake in the input or the configuration; its message is one sentence that says what to do."""
