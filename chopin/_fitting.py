"""How the columns of a result fit the shape that its rows are to have.

Owns: `fit`, which decides what is called and with which column where, the errors that
say why something does not fit, and the types of what `into` takes.
Layer L2. Imports L0. Packages that shapes come from are known by the marks of their
classes, and imported only when such a class is there.

Rules
- It is asked once for a statement and a shape, before a row is decoded: it may be slow,
  and must be exact.
- Columns go by name where the shape has names, in any order. A name that is missing,
  one too many, or one that occurs twice is an error and never a guess.
- What the user's code decides at each row is left to it: a validator that takes
  whatever comes, a function with any number of arguments.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol

from chopin.exceptions import InterfaceError

if TYPE_CHECKING:
    from typing import TypeAlias

    from typing_extensions import TypeVar

    from chopin._rows import Record

    T_co = TypeVar("T_co", covariant=True)

    #: What a row becomes: of a cursor or statement, `Record` where nothing is said.
    Row = TypeVar("Row", default=Record)

    class Validator(Protocol[T_co]):
        """What pydantic's TypeAdapter is, as far as it matters here."""

        def validate_python(self, object: Any, /) -> T_co: ...

    #: What `into` takes. A class is named by itself, because a type checker finds the
    #: arguments of `dict` in no other way.
    Shape: TypeAlias = type[Row] | Callable[..., Row] | Validator[Row]
else:
    from typing import TypeVar

    Row = TypeVar("Row")

# Classes that could be called with the values of a row, but are not what is meant.
COLLECTIONS = (list, set, frozenset)

# By this name the __init__ that is generated for a frozen dataclass knows `object`.
_SETTER = "__dataclass_builtins_object__"


@dataclass(frozen=True)
class Fit:
    """How the values of a row become what the user wants.

    Attributes:
        kind: "tuple", "dict", "call" or "fields".
        make: the class of tuples; what is called with the dict, or None; what is called
            with the values.
        places: for each column, where its value goes among the values.
        names: the keys of the dict; the keywords of the last values of a call; the
            attributes that are set.
        target: of a call, the class of the new object where `make` is its __init__; of
            a dict, what `make` is called with beside it; of fields, the class. Or None.
    """

    kind: str
    make: Any
    places: tuple[int, ...]
    names: tuple[str, ...] = ()
    target: Any = None


def check_shape(into: Any) -> None:
    """Refuse what no row can become.

    Raises:
        TypeError: `into` is no class, callable or validator, or cannot be a key.
    """
    if _class_of(into) in COLLECTIONS:
        raise TypeError(
            f"into is what one row becomes, and that cannot be {into!r}: use tuple, "
            "or a function"
        )
    if not (callable(into) or hasattr(into, "validate_python")):
        raise TypeError(f"into is expected to be a class or a callable, got {into!r}")
    try:
        hash(into)
    except TypeError:
        raise TypeError(f"into is expected to be hashable, got {into!r}") from None


def fit(shape: Any, columns: tuple[str, ...]) -> Fit:
    """How rows of these columns become this shape.

    Args:
        shape: what the user has given as `into`.
        columns: names of the columns, in order.

    Raises:
        InterfaceError: they do not fit; the message names what is missing, one too many
            or there twice, the detail all columns and fields.
        TypeError: the shape is an asynchronous function.
    """
    cls = _class_of(shape)
    for is_one, way in _WAYS:
        if is_one(cls):
            return way(shape, columns)
    return _by_position(shape, columns)


def _class_of(shape: Any) -> Any:
    """The class behind a generic alias: dict[str, Any] is a dict."""
    while not isinstance(shape, type) and hasattr(shape, "__origin__"):
        shape = shape.__origin__
    return shape


# -- tuples and dicts ----------------------------------------------------------------


def _tuple(shape: Any, columns: tuple[str, ...]) -> Fit:
    """A plain tuple; its alias may say how many values there are."""
    types = getattr(shape, "__args__", columns)
    # tuple[int, ...], or with an unpacked one in it
    is_open = any(
        each is Ellipsis or getattr(each, "__unpacked__", False) for each in types
    )
    if len(types) != len(columns) and not is_open:
        raise _misfit(
            shape,
            columns,
            [f"it has {_count(types, 'value')}, a row {_count(columns, 'column')}"],
            hint="Select as many columns as the tuple has values.",
        )
    return Fit("tuple", tuple, _in_order(columns))


def _dict(shape: Any, columns: tuple[str, ...]) -> Fit:
    """A dict, or what a subclass makes of one."""
    cls = _class_of(shape)
    _check_names(shape, columns, None, ())
    return Fit("dict", None if cls is dict else cls, _in_order(columns), columns)


def _typed_dict(shape: Any, columns: tuple[str, ...]) -> Fit:
    cls = _class_of(shape)
    required = cls.__required_keys__
    _check_names(shape, columns, sorted(required | cls.__optional_keys__), required)
    return Fit("dict", None, _in_order(columns), columns)


def _named_tuple(shape: Any, columns: tuple[str, ...]) -> Fit:
    """A NamedTuple: made like a tuple, unless it has a constructor of its own."""
    cls = _class_of(shape)
    fitted = _by_name(shape, columns)
    if (
        len(columns) == len(cls._fields)
        and not fitted.names
        and str(cls.__new__.__module__).startswith("namedtuple_")
        and cls.__init__ is object.__init__
        and type(cls).__call__ is type.__call__
    ):
        return Fit("tuple", cls, fitted.places)
    return fitted


# -- constructors and functions ------------------------------------------------------


def _by_name(shape: Any, columns: tuple[str, ...]) -> Fit:
    """Columns are arguments of the constructor: by position as far as there is no gap.

    An argument by position is twice as fast as one by name.
    """
    parameters = inspect.signature(_class_of(shape)).parameters.values()
    named = [
        each
        for each in parameters
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    is_open = any(each.kind is each.VAR_KEYWORD for each in parameters)
    _check_names(
        shape,
        columns,
        [each.name for each in named],
        [each.name for each in named if each.default is each.empty],
        is_open,
    )
    order = []
    for each in named:
        if each.kind is each.KEYWORD_ONLY or each.name not in columns:
            break
        order.append(each.name)
    keywords = tuple(name for name in columns if name not in order)
    order.extend(keywords)
    places = tuple(order.index(name) for name in columns)
    return _call(shape, places, _as_in_code(keywords))


def _by_position(shape: Any, columns: tuple[str, ...]) -> Fit:
    """Columns are arguments in their own order; their names do not matter."""
    if inspect.iscoroutinefunction(shape):
        raise TypeError(f"into cannot be an asynchronous function, got {shape!r}")
    try:
        # of a wrapper, what it takes itself
        signature = inspect.signature(shape, follow_wrapped=False)
    except (TypeError, ValueError):
        signature = None  # something that is compiled: it says so itself
    if signature is not None:
        try:
            signature.bind(*columns)
        except TypeError as error:
            raise _misfit(
                shape,
                columns,
                [f"it is called with the values of the columns: {error}"],
                hint="Select what it takes, in that order.",
            ) from None
    return _call(shape, _in_order(columns), ())


def _dataclass(shape: Any, columns: tuple[str, ...]) -> Fit:
    """By name; a frozen one whose constructor sets its fields is spared the call.

    That sets each by a function, and takes three to five times as long.
    """
    fitted = _by_name(shape, columns)
    cls = _class_of(shape)
    if (
        fitted.target is cls
        and _SETTER in cls.__init__.__code__.co_freevars
        and not hasattr(cls, "__post_init__")
        and all(each.init for each in fields(cls))
        and {each.name for each in fields(cls)} == set(columns)
    ):
        return Fit("fields", None, _in_order(columns), _as_in_code(columns), cls)
    return fitted


def _call(shape: Any, places: tuple[int, ...], keywords: tuple[str, ...]) -> Fit:
    """A call, in two steps where the class is an ordinary one.

    A new object and its __init__ take three quarters of the time of the class's call.
    """
    cls: Any = _class_of(shape)
    if (
        type(cls).__call__ is type.__call__  # so it is a class
        and cls.__new__ is object.__new__
        and isinstance(cls.__init__, FunctionType)
    ):
        return Fit("call", cls.__init__, places, keywords, cls)
    return Fit("call", cls, places, keywords)


# -- validation ----------------------------------------------------------------------


def _struct(shape: Any, columns: tuple[str, ...]) -> Fit:
    """A msgspec.Struct, by `msgspec.convert`, under the names that this expects."""
    import msgspec
    from msgspec.structs import fields as fields_of

    names: dict[str, str] = {}
    required = []
    for each in fields_of(_class_of(shape)):
        names[each.encode_name] = each.encode_name
        names.setdefault(each.name, each.encode_name)
        if each.required:
            required.append(each.encode_name)
    return _validated(shape, columns, names, required, msgspec.convert, shape)


def _model(shape: Any, columns: tuple[str, ...]) -> Fit:
    """A model of pydantic's, by its validator, under its names or aliases."""
    config = shape.model_config
    by_name = config.get("validate_by_name") or config.get("populate_by_name")
    names: dict[str, str] = {}
    required = []
    for name, field in shape.model_fields.items():
        alias = field.validation_alias
        choices = [] if alias is None else getattr(alias, "choices", [alias])
        keys = [each if isinstance(each, str) else each.path[0] for each in choices]
        if by_name or not keys:
            keys.insert(0, name)
        names.update((key, key) for key in keys)
        names.setdefault(name, keys[0])
        if field.is_required():
            required.append((keys[0], keys))
    known = {names.get(column) for column in columns}
    missing = [first for first, keys in required if known.isdisjoint(keys)]
    validators = shape.__pydantic_decorators__.model_validators.values()
    if any(each.info.mode != "after" for each in validators):
        missing, is_open = [], True  # they may make anything of anything
    else:
        is_open = "extra" in config and config["extra"] != "forbid"
    validate = shape.__pydantic_validator__.validate_python
    return _validated(shape, columns, names, missing, validate, None, is_open)


def _validated(
    shape: Any,
    columns: tuple[str, ...],
    names: Mapping[str, str],
    required: Iterable[str],
    make: Callable[..., Any],
    target: Any,
    is_open: bool = False,
) -> Fit:
    """A dict for a validator. `names` has the key of each column that is a field."""
    keys = tuple(names.get(column, column) for column in columns)
    known = list(dict.fromkeys(names.values()))
    _check_names(shape, columns, known, required, is_open, keys)
    return Fit("dict", make, _in_order(columns), keys, target)


def _adapter(shape: Any, columns: tuple[str, ...]) -> Fit:
    """A TypeAdapter of pydantic's: it says itself what is wrong with a dict."""
    _check_names(shape, columns, None, ())
    return Fit("dict", shape.validate_python, _in_order(columns), columns)


# -- what they share -----------------------------------------------------------------


def _as_in_code(names: tuple[str, ...]) -> tuple[str, ...]:
    """The very strings that code has, which are found without being compared."""
    return tuple(sys.intern(name) for name in names)


def _in_order(columns: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(range(len(columns)))


def _check_names(
    shape: Any,
    columns: tuple[str, ...],
    fields: Iterable[str] | None,
    required: Iterable[str],
    is_open: bool = False,
    keys: tuple[str, ...] | None = None,
) -> None:
    """Raise unless the columns can be these fields.

    Args:
        shape: for the message.
        columns: names of the columns.
        fields: names that there are; None: any.
        required: names that must be there.
        is_open: whether there may be other columns.
        keys: the names that the columns go by, where those are not their own.
    """
    keys = keys or columns
    reasons = [
        f"the name {_quoted(name)} has {count} columns"
        for name, count in Counter(keys).items()
        if count > 1
    ]
    missing = [name for name in required if name not in keys]
    if missing:
        reasons.append(f"there is no column {_quoted(*missing)}")
    if fields is not None and not is_open:
        own = getattr(_class_of(shape), "__dataclass_fields__", {})
        for name, key in zip(columns, keys, strict=True):
            if key not in fields:
                reasons.append(
                    f"its constructor does not take the field {_quoted(name)}"
                    if name in own
                    else f"it has no field {_quoted(name)}"
                )
    if reasons:
        raise _misfit(shape, columns, reasons, fields)


def _misfit(
    shape: Any,
    columns: tuple[str, ...],
    reasons: list[str],
    fields: Iterable[str] | None = None,
    hint: str = 'Name columns in the query: SELECT a AS "b".',
) -> InterfaceError:
    name = repr(shape)
    if not hasattr(shape, "__origin__"):  # an alias has the name of its class
        name = getattr(shape, "__qualname__", name)
    detail = f"Columns: {', '.join(columns) or 'none'}."
    if fields is not None:
        detail += f" Fields: {', '.join(fields) or 'none'}."
    return InterfaceError(
        f"the columns do not fit {name}: {'; '.join(reasons)}", detail=detail, hint=hint
    )


def _quoted(*names: str) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _count(things: tuple[Any, ...], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _has(*marks: str) -> Callable[[Any], bool]:
    """Whether a class has all of these attributes."""
    return lambda cls: isinstance(cls, type) and all(hasattr(cls, m) for m in marks)


# What a class is, the first that applies, and how it is made of a row.
_WAYS: tuple[tuple[Callable[[Any], bool], Callable[..., Fit]], ...] = (
    (lambda cls: cls is tuple, _tuple),
    (_has("__required_keys__", "__optional_keys__"), _typed_dict),
    (lambda cls: isinstance(cls, type) and issubclass(cls, dict), _dict),
    (
        lambda cls: (
            isinstance(cls, type)
            and issubclass(cls, tuple)
            and hasattr(cls, "_fields")
            and hasattr(cls, "_field_defaults")
        ),
        _named_tuple,
    ),
    (_has("__dataclass_fields__"), _dataclass),
    (_has("__attrs_attrs__"), _by_name),
    (_has("__struct_fields__", "__struct_config__"), _struct),
    (
        lambda cls: (
            _has("__pydantic_validator__", "model_fields")(cls)
            and not cls.__pydantic_root_model__
        ),
        _model,
    ),
    (
        lambda cls: hasattr(cls, "validate_python") and not callable(cls),
        _adapter,
    ),
)
