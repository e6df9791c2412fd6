"""Values of PostgreSQL that Python has no type for, under asyncpg's names.

Owns: `Range`, `BitString`, the geometric types, and the descriptions of types,
attributes and server versions.
Imports: L0, standard library only.
Rules:
- Every value is immutable, hashable, and can be pickled and copied.
- Points and what is made of a fixed number of them are tuples, equal to plain tuples
  of the same numbers; a `Path` has any number of points and equals paths only.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    Self,
    SupportsFloat,
    SupportsIndex,
    TypeVar,
    overload,
)

__all__ = [
    "Attribute",
    "BitString",
    "Box",
    "Circle",
    "Gap",
    "Line",
    "LineSegment",
    "Notification",
    "Path",
    "Point",
    "Polygon",
    "Range",
    "ServerVersion",
    "Type",
]

_Number = SupportsFloat | SupportsIndex | str
_BitOrder = Literal["big", "little"]
_BoundT = TypeVar("_BoundT")
_ElementT = TypeVar("_ElementT")


class Notification(NamedTuple):
    """What somebody has said on a channel by NOTIFY.

    Source: PostgreSQL documentation, "NOTIFY".

    Example:
        >>> Notification(pid=4711, channel="jobs", payload="7").payload
        '7'
    """

    pid: int
    """Server process of the connection that said it."""
    channel: str
    """Where it was said."""
    payload: str
    """What was said, possibly nothing (``""``)."""


class Gap(NamedTuple):
    """Stands among notifications where some may be missing: read the table again.

    Example:
        >>> print(Gap(0.0, 12, None))
        12 notifications were dropped: the reader is too slow
    """

    seconds: float
    """For how long nobody listened."""
    dropped: int
    """How many were dropped because the reader was too slow."""
    reason: BaseException | None
    """What the session has ended with, if that is why."""

    def __str__(self) -> str:
        parts = []
        if self.reason is not None:
            parts.append(f"nobody listened for {self.seconds:.3g} s: {self.reason!r}")
        if self.dropped:
            parts.append(
                f"{self.dropped} notifications were dropped: the reader is too slow"
            )
        return "; ".join(parts)


class Type(NamedTuple):
    """A data type of the database.

    Example:
        >>> Type(oid=23, name="int4", kind="scalar", schema="pg_catalog").name
        'int4'
    """

    oid: int
    """OID of the type."""
    name: str
    """Name of the type, ``"int4"`` say."""
    kind: str
    """One of ``"scalar"``, ``"array"``, ``"composite"``, ``"range"``."""
    schema: str
    """Name of the schema that holds the type."""


class Attribute(NamedTuple):
    """A column of a result.

    Example:
        >>> Attribute("id", Type(23, "int4", "scalar", "pg_catalog")).type.oid
        23
    """

    name: str
    """Name of the column."""
    type: Type
    """Type of the column."""


class ServerVersion(NamedTuple):
    """The version of a server; compares like a tuple.

    Example:
        >>> ServerVersion(18, 0, 4, "final", 0) >= (14,)
        True
    """

    major: int
    """First number, 18 in 18.4."""
    minor: int
    """Second number of versions before 10, else 0."""
    micro: int
    """Number of the bug-fix release, 4 in 18.4."""
    releaselevel: str
    """One of ``"alpha"``, ``"beta"``, ``"candidate"``, ``"final"``."""
    serial: int
    """Number of the alpha, beta or candidate; 0 for ``"final"``."""


class Range(Generic[_BoundT]):
    """A range of values, ``int4range`` or ``tstzrange`` say.

    Args:
        lower: lower bound; None for no bound.
        upper: upper bound; None for no bound.
        lower_inc: whether the lower bound belongs to the range; False without one.
        upper_inc: whether the upper bound belongs to the range; False without one.
        empty: True for the range without values, which has no bounds.

    Two ranges are equal when their bounds are: ``[1, 3)`` and ``[1, 2]`` differ, since
    only the server knows which types are discrete. The empty range is false.

    Source: PostgreSQL docs, "Range Types".

    Example:
        >>> Range(1, 10)
        <Range [1, 10)>
        >>> Range(2, 3).issubset(Range(1, None))
        True
    """

    __slots__ = ("_empty", "_lower", "_lower_inc", "_upper", "_upper_inc")

    def __init__(
        self,
        lower: _BoundT | None = None,
        upper: _BoundT | None = None,
        *,
        lower_inc: bool = True,
        upper_inc: bool = False,
        empty: bool = False,
    ) -> None:
        if empty:
            lower = upper = None
        self._lower = lower
        self._upper = upper
        self._lower_inc = bool(lower_inc) and lower is not None
        self._upper_inc = bool(upper_inc) and upper is not None
        self._empty = bool(empty)

    @property
    def lower(self) -> _BoundT | None:
        """The lower bound; None for no bound."""
        return self._lower

    @property
    def lower_inc(self) -> bool:
        """Whether the lower bound belongs to the range."""
        return self._lower_inc

    @property
    def lower_inf(self) -> bool:
        """Whether the range has no lower bound; False for the empty range."""
        return self._lower is None and not self._empty

    @property
    def upper(self) -> _BoundT | None:
        """The upper bound; None for no bound."""
        return self._upper

    @property
    def upper_inc(self) -> bool:
        """Whether the upper bound belongs to the range."""
        return self._upper_inc

    @property
    def upper_inf(self) -> bool:
        """Whether the range has no upper bound; False for the empty range."""
        return self._upper is None and not self._empty

    @property
    def isempty(self) -> bool:
        """Whether this is the empty range."""
        return self._empty

    def issubset(self, other: Self) -> bool:
        """Tell whether every value of this range is in `other`.

        Args:
            other: a range with bounds that compare with the bounds of this one.

        Raises:
            TypeError: when `other` is not a range, or bounds do not compare.
        """
        if not isinstance(other, Range):
            raise TypeError(f"issubset() needs a Range, got {type(other).__name__}")
        if self._empty:
            return True
        if other._empty:
            return False
        return self._starts_within(other) and self._ends_within(other)

    def issuperset(self, other: Self) -> bool:
        """Tell whether every value of `other` is in this range; see `issubset`."""
        if not isinstance(other, Range):
            raise TypeError(f"issuperset() needs a Range, got {type(other).__name__}")
        return other.issubset(self)

    def _starts_within(self, other: Range[Any]) -> bool:
        mine: Any = self._lower
        if other._lower is None or mine is None:
            return other._lower is None
        if mine == other._lower:
            return other._lower_inc or not self._lower_inc
        return bool(mine > other._lower)

    def _ends_within(self, other: Range[Any]) -> bool:
        mine: Any = self._upper
        if other._upper is None or mine is None:
            return other._upper is None
        if mine == other._upper:
            return other._upper_inc or not self._upper_inc
        return bool(mine < other._upper)

    def _key(self) -> tuple[object, ...]:
        return self._lower, self._upper, self._lower_inc, self._upper_inc, self._empty

    def __bool__(self) -> bool:
        return not self._empty

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Range):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        if self._empty:
            return "<Range empty>"
        opening = "[" if self._lower_inc else "("
        closing = "]" if self._upper_inc else ")"
        lower = "" if self._lower is None else repr(self._lower)
        upper = "" if self._upper is None else repr(self._upper)
        return f"<Range {opening}{lower}, {upper}{closing}>"


class BitString:
    """A string of bits, ``bit(n)`` or ``varbit``.

    Args:
        bitstring: the bits, the leftmost first, as text of ``0`` and ``1``, in which
            spaces are ignored, or as an iterable of such characters or of the
            integers 0 and 1.

    Raises:
        ValueError: an element is neither 0 nor 1.

    Source: PostgreSQL docs, "Bit String Types".

    Example:
        >>> BitString("1100 1")
        <BitString 1100 1>
        >>> BitString("101")[0], len(BitString("101")), BitString("101").to_int()
        (1, 3, 5)
    """

    __slots__ = ("_bitlength", "_bytes")

    def __init__(self, bitstring: Iterable[str | int] | None = None) -> None:
        bits = []
        for position, bit in enumerate(bitstring or ()):
            if bit == " ":
                continue
            if bit not in ("0", "1", 0, 1):
                raise ValueError(f"invalid bit value at position {position}")
            bits.append("1" if bit in ("1", 1) else "0")
        number = int("".join(bits) or "0", 2)
        self._bitlength = len(bits)
        self._bytes = _pack_bits(number, len(bits))

    @classmethod
    def frombytes(
        cls, bytes_: builtins.bytes | None = None, bitlength: int | None = None
    ) -> Self:
        r"""Make a bit string from bytes, the leftmost bit being the highest.

        Args:
            bytes_: the bytes; bits beyond `bitlength` count as 0. Default: all bits 0.
            bitlength: the number of bits. Default: eight for each byte.

        Raises:
            ValueError: `bitlength` does not go with the number of bytes.

        Example:
            >>> BitString.frombytes(b"\xa0", 3)
            <BitString 101>
        """
        if bitlength is None:
            bitlength = 8 * len(bytes_ or b"")
        n_bytes = (bitlength + 7) // 8
        if bytes_ is None:
            bytes_ = builtins.bytes(max(n_bytes, 0))
        if bitlength < 0 or len(bytes_) != n_bytes:
            raise ValueError(
                f"invalid bit length specified: bitlength is {bitlength},"
                f" which does not take {len(bytes_)} bytes"
            )
        data = builtins.bytes(bytes_)
        n_unused = -bitlength % 8
        if n_unused and data[-1] & ((1 << n_unused) - 1):
            data = data[:-1] + builtins.bytes([data[-1] >> n_unused << n_unused])
        bits = cls.__new__(cls)
        bits._bytes = data
        bits._bitlength = bitlength
        return bits

    @classmethod
    def from_int(
        cls, x: int, length: int, bitorder: _BitOrder = "big", *, signed: bool = False
    ) -> Self:
        """Make a bit string from an integer.

        Args:
            x: the integer.
            length: the number of bits.
            bitorder: ``"big"`` puts the highest bit leftmost, ``"little"`` the lowest.
            signed: whether to use two's complement.

        Raises:
            OverflowError: `x` does not fit into `length` bits.
            ValueError: `length` is negative, or `bitorder` is neither value.

        Example:
            >>> BitString.from_int(-3, 4, signed=True)
            <BitString 1101>
            >>> BitString.from_int(1, 4, "little")
            <BitString 1000>
        """
        _check_bitorder(bitorder)
        if length < 0:
            raise ValueError(f"length must not be negative, got {length}")
        if signed:
            half = (1 << length) >> 1
            low, high = -half, max(half - 1, 0)
        else:
            low, high = 0, (1 << length) - 1
        if not low <= x <= high:
            raise OverflowError(
                f"{x} does not fit into {length} {'signed' if signed else 'unsigned'}"
                f" bits, which hold {low} to {high}"
            )
        number = x & ((1 << length) - 1)
        if bitorder == "little":
            number = _reverse_bits(number, length)
        return cls.frombytes(_pack_bits(number, length), length)

    def to_int(self, bitorder: _BitOrder = "big", *, signed: bool = False) -> int:
        """Return the bits as an integer, the inverse of `from_int`.

        Args:
            bitorder: ``"big"`` when the highest bit is leftmost, else ``"little"``.
            signed: whether the bits are two's complement.

        Raises:
            ValueError: `bitorder` is neither value.

        Example:
            >>> BitString("1101").to_int(), BitString("1101").to_int(signed=True)
            (13, -3)
        """
        _check_bitorder(bitorder)
        length = self._bitlength
        number = int.from_bytes(self._bytes, "big") >> (-length % 8)
        if bitorder == "little":
            number = _reverse_bits(number, length)
        if signed and length and number >> (length - 1):
            number -= 1 << length
        return number

    @property
    def bytes(self) -> builtins.bytes:
        """The bits as bytes, with bits of value 0 after the last one."""
        return self._bytes

    def as_string(self) -> str:
        """Return the bits as text, in groups of four.

        Example:
            >>> BitString("11001").as_string()
            '1100 1'
        """
        bits = _bit_text(self.to_int(), self._bitlength)
        return " ".join(bits[at : at + 4] for at in range(0, len(bits), 4))

    def __len__(self) -> int:
        return self._bitlength

    def __iter__(self) -> Iterator[int]:
        return map(int, _bit_text(self.to_int(), self._bitlength))

    def __getitem__(self, i: SupportsIndex) -> int:
        index = operator.index(i)
        if index < 0:
            index += self._bitlength
        if not 0 <= index < self._bitlength:
            raise IndexError("index out of range")
        return self._bytes[index // 8] >> (7 - index % 8) & 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BitString):
            return NotImplemented
        return self._bitlength == other._bitlength and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash((self._bytes, self._bitlength))

    def __repr__(self) -> str:
        return f"<BitString {self.as_string()}>"


def _check_bitorder(bitorder: str) -> None:
    if bitorder not in ("big", "little"):
        raise ValueError(f"bitorder must be either 'big' or 'little', got {bitorder!r}")


def _bit_text(number: int, length: int) -> str:
    return f"{number:0{length}b}" if length else ""


def _reverse_bits(number: int, length: int) -> int:
    return int(_bit_text(number, length)[::-1] or "0", 2)


def _pack_bits(number: int, length: int) -> bytes:
    return (number << (-length % 8)).to_bytes((length + 7) // 8, "big")


class _Geometry(tuple[_ElementT, ...]):
    """A tuple whose constructor takes its elements one by one."""

    __slots__ = ()

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)  # pickle and copy call __new__ with these

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self))})"


class Point(_Geometry[float]):
    """A point on a plane.

    Args:
        x: abscissa.
        y: ordinate.

    Source: PostgreSQL docs, "Geometric Types", Points.

    Example:
        >>> Point(1, 2).y, Point(1, 2) == (1, 2)
        (2.0, True)
    """

    __slots__ = ()
    __match_args__ = ("x", "y")

    def __new__(cls, x: _Number, y: _Number) -> Self:
        """Make a value of its elements, see the class."""
        return tuple.__new__(cls, (float(x), float(y)))

    @property
    def x(self) -> float:
        """The abscissa."""
        return self[0]

    @property
    def y(self) -> float:
        """The ordinate."""
        return self[1]


def _point_of(value: Sequence[_Number]) -> Point:
    if isinstance(value, Point):
        return value
    try:
        x, y = value
    except (TypeError, ValueError):
        raise TypeError(
            f"a point needs two numbers (x, y), got {repr(value)[:40]}"
        ) from None
    return Point(x, y)


class Box(_Geometry[Point]):
    """A rectangle with sides along the axes, given by two opposite corners.

    Args:
        high: upper right corner, as two numbers.
        low: lower left corner, as two numbers.

    Source: PostgreSQL docs, "Geometric Types", Boxes.

    Example:
        >>> Box((3, 4), (1, 2)).low
        Point(1.0, 2.0)
    """

    __slots__ = ()
    __match_args__ = ("high", "low")

    def __new__(cls, high: Sequence[_Number], low: Sequence[_Number]) -> Self:
        """Make a value of its elements, see the class."""
        return tuple.__new__(cls, (_point_of(high), _point_of(low)))

    @property
    def high(self) -> Point:
        """The upper right corner, as the server sorts them."""
        return self[0]

    @property
    def low(self) -> Point:
        """The lower left corner, as the server sorts them."""
        return self[1]


class Line(_Geometry[float]):
    """An infinite line, the points with ``Ax + By + C = 0``.

    Args:
        A: factor of x.
        B: factor of y.
        C: the constant.

    Source: PostgreSQL docs, "Geometric Types", Lines.

    Example:
        >>> Line(1, -1, 0)
        Line(1.0, -1.0, 0.0)
    """

    __slots__ = ()
    __match_args__ = ("A", "B", "C")

    def __new__(cls, A: _Number, B: _Number, C: _Number) -> Self:
        """Make a value of its elements, see the class."""
        return tuple.__new__(cls, (float(A), float(B), float(C)))

    @property
    def A(self) -> float:
        """The factor of x."""
        return self[0]

    @property
    def B(self) -> float:
        """The factor of y."""
        return self[1]

    @property
    def C(self) -> float:
        """The constant."""
        return self[2]


class LineSegment(_Geometry[Point]):
    """A finite line segment, ``lseg``, given by its ends.

    Args:
        p1: one end, as two numbers.
        p2: the other end, as two numbers.

    Source: PostgreSQL docs, "Geometric Types", Line Segments.

    Example:
        >>> LineSegment((1, 2), (3, 4)).p2
        Point(3.0, 4.0)
    """

    __slots__ = ()
    __match_args__ = ("p1", "p2")

    def __new__(cls, p1: Sequence[_Number], p2: Sequence[_Number]) -> Self:
        """Make a value of its elements, see the class."""
        return tuple.__new__(cls, (_point_of(p1), _point_of(p2)))

    @property
    def p1(self) -> Point:
        """One end."""
        return self[0]

    @property
    def p2(self) -> Point:
        """The other end."""
        return self[1]


class Circle(_Geometry[Any]):
    """A circle.

    Args:
        center: its centre, as two numbers.
        radius: its radius.

    Source: PostgreSQL docs, "Geometric Types", Circles.

    Example:
        >>> Circle((1, 2), 3)
        Circle(Point(1.0, 2.0), 3.0)
    """

    __slots__ = ()
    __match_args__ = ("center", "radius")

    def __new__(cls, center: Sequence[_Number], radius: _Number) -> Self:
        """Make a value of its elements, see the class."""
        return tuple.__new__(cls, (_point_of(center), float(radius)))

    @property
    def center(self) -> Point:
        """The centre."""
        value: Point = self[0]
        return value

    @property
    def radius(self) -> float:
        """The radius."""
        value: float = self[1]
        return value


class Path:
    """A sequence of points joined by line segments.

    Args:
        points: the points, each as two numbers.
        is_closed: whether the last point is joined to the first one.

    A closed path equals the `Polygon` of the same points.

    Source: PostgreSQL docs, "Geometric Types", Paths.

    Example:
        >>> path = Path((0, 0), (1, 0), (1, 1))
        >>> len(path), path[1], (1, 1) in path, path.is_closed
        (3, Point(1.0, 0.0), True, False)
    """

    __slots__ = ("_is_closed", "_points")

    def __init__(self, *points: Sequence[_Number], is_closed: bool = False) -> None:
        self._points = tuple(map(_point_of, points))
        self._is_closed = bool(is_closed)

    @property
    def points(self) -> tuple[Point, ...]:
        """The points."""
        return self._points

    @property
    def is_closed(self) -> bool:
        """Whether the last point is joined to the first one."""
        return self._is_closed

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Path):
            return NotImplemented
        return self._points == other._points and self._is_closed == other._is_closed

    def __hash__(self) -> int:
        return hash((self._points, self._is_closed))

    def __iter__(self) -> Iterator[Point]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)

    @overload
    def __getitem__(self, i: int) -> Point: ...

    @overload
    def __getitem__(self, i: slice) -> tuple[Point, ...]: ...

    def __getitem__(self, i: int | slice) -> Point | tuple[Point, ...]:
        return self._points[i]

    def __contains__(self, point: object) -> bool:
        return point in self._points

    def __repr__(self) -> str:
        points = ", ".join(map(repr, self._points))
        closed = ", is_closed=True" if self._is_closed and points else ""
        return f"{type(self).__name__}({points}{closed})"


class Polygon(Path):
    """A polygon: a closed path.

    Args:
        points: the corners, each as two numbers.

    Source: PostgreSQL docs, "Geometric Types", Polygons.

    Example:
        >>> Polygon((0, 0), (1, 0), (1, 1)).is_closed
        True
    """

    __slots__ = ()

    def __init__(self, *points: Sequence[_Number]) -> None:
        super().__init__(*points, is_closed=True)

    def __repr__(self) -> str:
        return f"Polygon({', '.join(map(repr, self._points))})"
