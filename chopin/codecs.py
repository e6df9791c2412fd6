"""In which form values come and go: what a user says of types in advance.

Owns: `TypeCodec` and `JSON`, what `connect` and `create_pool` take as `codecs` and
`json`, and `Array`, a form in which arrays may come.
Layer L2. Imports L0.

Rules
- These are words. What they mean for a type is found out in `_codecs_registry` when the
  type is met, since only then is known of which kind it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, SupportsIndex, TypeVar

from chopin.exceptions import InterfaceError

__all__ = ["JSON", "Array", "CodecSpec", "JSONLibrary", "JSONOption", "TypeCodec"]

_T = TypeVar("_T")
_FORMATS = ("text", "binary", "tuple", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeCodec:
    """Two functions that make and read the values of a type.

    Args:
        encoder: takes the Python value; returns what `format` says.
        decoder: takes what `format` says; returns the Python value.
        format: what the two exchange: `"text"`: the type's text, as `str`; `"binary"`:
            its binary form, as `bytes`; `"value"`: the value that it has without a
            codec, an `int` for `int4`, a `Record` for a composite type, a `list` for an
            array; `"tuple"`: a tuple of numbers for dates and times, and the same as
            `"value"` for composite types.

    Raises:
        InterfaceError: one is no function, or there is no such format.

    Example:
        >>> codec = TypeCodec(encoder=Decimal, decoder=float, format="value")
        >>> pool = await chopin.create_pool(dsn, codecs={"numeric": codec})

    Source: PostgreSQL documentation, "Formats and Format Codes".
    """

    encoder: Callable[[Any], Any]
    decoder: Callable[[Any], Any]
    format: Literal["text", "binary", "tuple", "value"] = "text"

    def __post_init__(self) -> None:
        _check_function("TypeCodec", "encoder", self.encoder)
        _check_function("TypeCodec", "decoder", self.decoder)
        if self.format not in _FORMATS:
            raise InterfaceError(
                "the argument format of TypeCodec must be 'text', 'binary', 'tuple' or "
                f"'value', got {self.format!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JSON:
    """Two functions that read and write JSON.

    Args:
        loads: takes JSON; returns the Python value. None: orjson if it is installed,
            else `json`; whole numbers of any size are exact with both.
        dumps: takes the Python value; returns `str`, or `bytes` in UTF-8. None: orjson
            if it is installed, `json` if not, and for what orjson does not take.
        format: what `loads` takes: `str` for `"text"`, `bytes` for `"binary"`.

    Raises:
        InterfaceError: one is no function, or there is no such format.

    Example:
        >>> way = JSON(loads=msgspec.json.decode, dumps=msgspec.json.encode)
        >>> conn = await chopin.connect(dsn, json=way)

    Source: PostgreSQL documentation, "JSON Types".
    """

    loads: Callable[[Any], Any] | None = None
    dumps: Callable[[Any], Any] | None = None
    format: Literal["text", "binary"] = "text"

    def __post_init__(self) -> None:
        for name in ("loads", "dumps"):
            function = getattr(self, name)
            if function is not None:
                _check_function("JSON", name, function)
        if self.format not in _FORMATS[:2]:
            raise InterfaceError(
                "the argument format of JSON must be 'text' or 'binary', got "
                f"{self.format!r}"
            )


class JSONLibrary(Protocol):
    """What `json=` takes beside True and `JSON`: json, orjson, ujson, rapidjson ..."""

    @property
    def loads(self) -> Callable[..., Any]:
        """Takes JSON; returns the Python value."""

    @property
    def dumps(self) -> Callable[..., Any]:
        """Takes the Python value; returns `str` or `bytes`."""


class Array(list[_T]):
    """A list that says where the subscripts of an array begin on the server.

    Args:
        items: the elements; lists of them for more than one dimension.
        lower_bounds: the first subscript of each dimension, a number if there is one
            dimension; 1 for each if not given.

    Raises:
        OverflowError: a bound does not fit into 32 bits.

    To Python it is a list: `array[0]` is its first item, and it equals each list of the
    same items. It may be passed wherever an array may; arrays come in this form where
    `codecs={"int4[]": "array.bounded"}` asks for it.

    Source: PostgreSQL docs, "Arrays".

    Example:
        >>> Array(["a", "b"], lower_bounds=0)
        Array(['a', 'b'], lower_bounds=(0,))
    """

    __slots__ = ("lower_bounds",)

    lower_bounds: tuple[int, ...]

    def __init__(
        self,
        items: Iterable[_T] = (),
        lower_bounds: Iterable[SupportsIndex] | SupportsIndex = (),
    ) -> None:
        super().__init__(items)
        if isinstance(lower_bounds, SupportsIndex):
            lower_bounds = (lower_bounds,)
        self.lower_bounds = tuple(operator.index(each) for each in lower_bounds)
        for bound in self.lower_bounds:
            if not -(2**31) <= bound < 2**31:
                raise OverflowError(f"the lower bound {bound} is out of int32 range")

    def __repr__(self) -> str:
        return f"Array({super().__repr__()}, lower_bounds={self.lower_bounds!r})"


#: What `json=` may be.
JSONOption = bool | JSON | JSONLibrary | None

#: What `codecs=` may say of a type: the name of a codec, an `Enum`, a class or another
#: callable that is given the attributes of a composite type, or two functions.
CodecSpec = str | Callable[..., Any] | TypeCodec | JSON


def _check_function(where: str, name: str, function: object) -> None:
    if not callable(function):
        raise InterfaceError(
            f"the argument {name} of {where} must be callable, got {function!r}"
        )


def read_json(option: JSONOption) -> JSON | None:
    """The `JSON` that an argument `json=` stands for; None: JSON stays text.

    Raises:
        InterfaceError: it is nothing of what `JSONOption` says.
    """
    if option is None or option is False:
        return None
    if option is True:
        return JSON()
    if isinstance(option, JSON):
        return option
    loads = getattr(option, "loads", None)
    dumps = getattr(option, "dumps", None)
    if not callable(loads) or not callable(dumps):
        raise InterfaceError(
            "json is expected to be True, a module or object with loads and dumps, "
            f"such as json or orjson, or chopin.JSON(loads=..., dumps=...), got "
            f"{option!r}"
        )
    # what orjson reads need not become a str before
    is_orjson = getattr(loads, "__module__", None) == "orjson"
    return JSON(loads=loads, dumps=dumps, format="binary" if is_orjson else "text")


def find_orjson() -> Any:
    """The module orjson, None when it is not installed."""
    try:
        import orjson
    except ImportError:
        return None
    return orjson
