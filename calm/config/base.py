"""What all configurations share: frozen, strict about names, and checked whenever they are changed."""

from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import PositiveFloat, PositiveInt

from calm.errors import CalmError

AnyConfig = TypeVar("AnyConfig", bound="Config")
Pair = TypeVar("Pair", tuple[int, int], tuple[float, float])
Names = Annotated[
    tuple[str, ...], pydantic.BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
BelowOne = Annotated[float, pydantic.Field(ge=0, lt=1)]


def in_order(pair: Pair) -> Pair:
    """The pair, if the first number is not the larger one."""
    if pair[0] > pair[1]:
        raise ValueError(f"{pair} must be the least and the most")
    return pair


Counts = Annotated[tuple[PositiveInt, PositiveInt], pydantic.AfterValidator(in_order)]
AnyRange = Annotated[tuple[float, float], pydantic.AfterValidator(in_order)]
Range = Annotated[tuple[PositiveFloat, PositiveFloat], pydantic.AfterValidator(in_order)]


class Config(pydantic.BaseModel):
    """Frozen, and strict about names."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def changed(self: AnyConfig, **changes: Any) -> AnyConfig:
        """A copy with some values changed, checked like a new one.

        Raises:
            CalmError: a name that this configuration does not have, or a value that it cannot have.
        """
        try:
            return type(self).model_validate({**dict(self), **changes})
        except pydantic.ValidationError as error:
            mistake = error.errors()[0]
            name = ".".join(map(str, mistake["loc"])) or "it"
            if mistake["type"] == "extra_forbidden":
                known = ", ".join(type(self).model_fields)
                raise CalmError(f"{type(self).__name__} has no {name!r}: it has {known}.") from None
            raise CalmError(f"{type(self).__name__}: {name} cannot be changed so: {mistake['msg']}.") from None


class BlockConfig(Config):
    """Of networks that forecast a block of frames at once."""

    horizon: PositiveInt  # frames of it
