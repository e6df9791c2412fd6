"""How the columns of a result fit the shape that its rows are to have.

Owns: `fit`, which decides what is called and with which column where, and the errors
that say why something does not fit.
Layer L2. Imports L0. Packages that shapes come from are known by their marks.

Rules
- It is asked once for a statement and a shape, before a row is decoded: it may be slow,
  and must be exact.
- Columns go by name where the shape has names, in any order. A name that is missing, one
  too many or one that occurs twice is an error and never a guess.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from chopin.exceptions import InterfaceError


@dataclass(frozen=True)
class Fit:
    """How the values of a row become what the user wants.

    Attributes:
        kind: "tuple", "dict" or "call".
        make: the class of tuples; what is called with the dict (None: nothing is);
            what is called with the values.
        places: for each column, where its value goes among the values.
        names: the keys of the dict; the keywords of the last values of a call.
        instance_of: the class of the new object where `make` is its __init__.
    """

    kind: str
    make: Any
    places: tuple[int, ...]
    names: tuple[str, ...] = ()
    instance_of: type | None = None


def check_shape(into: Any) -> None:
    """TypeError unless a row can become this."""
    if not callable(into):
        raise TypeError(f"into is expected to be a class or a callable, got {into!r}")


def fit(shape: Any, columns: tuple[str, ...]) -> Fit:
    """How rows of these columns become this shape.

    Raises:
        InterfaceError: they do not fit.
    """
    in_order = tuple(range(len(columns)))
    if shape is tuple:
        return Fit("tuple", tuple, in_order)
    if shape is dict:
        _refuse_twins(shape, columns)
        return Fit("dict", None, in_order, columns)
    return Fit("call", shape, in_order)


def _refuse_twins(shape: Any, columns: tuple[str, ...]) -> None:
    twins = [f'"{name}"' for name, count in Counter(columns).items() if count > 1]
    if twins:
        raise InterfaceError(f"the columns do not fit {shape!r}: {', '.join(twins)}")
