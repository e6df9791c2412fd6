"""The roots of all exceptions and notices, and how a server message becomes one.

Owns: the base classes, the registry of classes by SQLSTATE, the field table, and what
each error means for whoever thinks of trying again: `kind` and `outcome`.
Imports: L0, standard library only.
Rules:
- A class that sets ``sqlstate`` in its own body registers itself; so do the classes
  of users. Two different classes never share a code.
- `PostgresError.new` always returns a `PostgresError`, `PostgresLogMessage.new` always
  a `PostgresLogMessage`. Neither fails on missing, empty or unknown fields.
- Everything here can be pickled and copied.

How the class of an error is found; the first row that names a registered error wins:

| looked up                                   | example                               |
| ------------------------------------------- | ------------------------------------- |
| SQLSTATE and the server function            | 0A000 raised by RevalidateCachedQuery |
| SQLSTATE                                    | 23505, UniqueViolationError           |
| the class of the SQLSTATE, ``xx000``        | 23999 becomes 23000                   |
| nothing                                     | UnknownPostgresError                  |

The class never depends on the severity: a FATAL ``57P01`` is an `AdminShutdownError`
whose ``severity`` says FATAL.

What ``kind`` says of an error:

| kind      | says                                                               |
| --------- | ------------------------------------------------------------------ |
| transient | the same thing may work when it is tried again                     |
| resource  | the server is short of something; later it may not be              |
| canceled  | it was called off: by us, by an administrator, by a time limit     |
| permanent | the same thing will fail again                                     |
| client    | the driver was used in a way that cannot work                      |
| pool      | the pool has no connection to give                                 |

What ``outcome`` says of what was asked for:

| outcome     | says                                                             |
| ----------- | ---------------------------------------------------------------- |
| not_sent    | nothing of it left this process, or the server refused it unread |
| rolled_back | nothing of it has taken effect                                   |
| unknown     | it may have taken effect                                         |

Both are attributes of the class, by its SQLSTATE where it has one. Whoever makes an
error and knows better assigns them to the instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, NoReturn, Self, TypeVar

__all__ = [
    "ClientConfigurationError",
    "FatalPostgresError",
    "InterfaceError",
    "InterfaceWarning",
    "InternalClientError",
    "OutdatedSchemaCacheError",
    "PipelineAbortedError",
    "PoolDeadlockError",
    "PoolDisabledError",
    "PoolError",
    "PoolTimeoutError",
    "PostgresError",
    "PostgresLogMessage",
    "PostgresMessage",
    "ProtocolError",
    "TargetServerAttributeNotMatched",
    "UnknownPostgresError",
    "UnsupportedClientFeatureError",
    "UnsupportedServerFeatureError",
]

Kind = Literal["transient", "resource", "canceled", "permanent", "client", "pool"]
Outcome = Literal["not_sent", "rolled_back", "unknown"]

# The kind of a SQLSTATE: the code's own row, else that of its first two characters;
# without either, the class inherits, at last "permanent". The rows that say "permanent"
# are exceptions from the row of their class, or codes that others take for transient.
_KINDS: dict[str, Kind] = {
    # A connection was lost or refused; another one may do.
    "08": "transient",
    # Somebody sent what the other does not understand, and would send it again. Some
    # poolers say it of everything that they refuse: nothing can be told from it.
    "08P01": "permanent",
    # It writes where nothing can be written. After a fail-over another server may do,
    # but not this connection, and most often the transaction is meant to be so.
    "25006": "permanent",
    # The echo of an error before it, which alone can say whether to begin anew.
    "25P02": "permanent",
    # The client was too slow once, and its work is undone.
    "25P03": "transient",
    # Like a statement_timeout.
    "25P04": "canceled",
    "40": "transient",
    # A constraint will fail again.
    "40002": "permanent",
    "53": "resource",
    # Whatever "not in the right state" means, no state changes by itself, as a rule.
    "55000": "permanent",
    # Locked or in use by somebody who will be done with it.
    "55006": "transient",
    "55P03": "transient",
    # Somebody intervened, who did not mean this statement: shutdown, crash, start-up.
    "57": "transient",
    # Somebody did mean it: a cancel request, statement_timeout.
    "57014": "canceled",
    "57P04": "permanent",  # the database was dropped
    # What fails outside of the server, a disk above all, wants a person.
    "58": "permanent",
    # The rows that an old snapshot needs are gone; a new snapshot needs others.
    "72000": "transient",
    "HV001": "resource",  # out of memory
    "HV014": "resource",  # too many handles
    "HV00N": "transient",  # the server behind a foreign table cannot be reached
}

# The outcome of an ERROR by SQLSTATE, as above; at last "rolled_back": the statement is
# undone, and the transaction with it or, in a block, for the block's owner to end.
# Nobody knows what a script or a procedure has committed by itself before it failed.
_OUTCOMES: dict[str, Outcome] = {
    # A connection was lost, ours or one from server to server, with work under way.
    "08": "unknown",
    # There never was a connection.
    "08001": "rolled_back",
    "08004": "rolled_back",
    # The message was refused.
    "08P01": "rolled_back",
    "40003": "unknown",
}

# Any other severity, FATAL or PANIC, ends the session, and does so at any moment, also
# between a commit and the news of it. These codes tell the moment.
_FATAL_OUTCOMES: dict[str, Outcome] = {
    # Start-up: there was no session yet.
    "28000": "not_sent",
    "28P01": "not_sent",
    "3D000": "not_sent",
    "53300": "not_sent",
    "57P03": "not_sent",
    # The session was idle, and whatever came in too late was not read.
    "57P05": "not_sent",
    # It was idle in a transaction, which nobody can commit any more.
    "25P03": "rolled_back",
    # A conflict with recovery, and in recovery nothing can be written.
    "40001": "rolled_back",
}

# Source: PostgreSQL docs, "Error and Notice Message Fields" (PostgreSQL 18).
_FIELDS = {
    "S": "severity",
    "V": "severity_en",
    "C": "sqlstate",
    "M": "message",
    "D": "detail",
    "H": "hint",
    "P": "position",
    "p": "internal_position",
    "q": "internal_query",
    "W": "context",
    "s": "schema_name",
    "t": "table_name",
    "c": "column_name",
    "d": "data_type_name",
    "n": "constraint_name",
    "F": "server_source_filename",
    "L": "server_source_line",
    "R": "server_source_function",
}

_POOLER_HINT = (
    "behind a connection pooler in transaction or statement mode, prepared"
    " statements may meet a server connection that does not know them or has others"
    " of the same name; connect straight to the server, or with"
    ' pooler="transaction", or set statement_cache_size=0'
)
# duplicate_prepared_statement and invalid_sql_statement_name
_POOLER_HINTS = {"42P05": _POOLER_HINT, "26000": _POOLER_HINT}

_Key = tuple[str, str | None]  # SQLSTATE, server function or None for any
_classes: dict[_Key, type[PostgresMessage]] = {}


class PostgresMessage:
    """What an error and a notice of the server have in common: their fields.

    Every field is None where the server did not send it. Numbers stay text, as sent.
    Source: PostgreSQL docs, "Error and Notice Message Fields".

    A subclass that sets ``sqlstate`` is used from then on for messages with that code.
    It is called with the text of the message as its only argument, so keep that
    signature. It may set ``kind`` and ``outcome`` too.

    Raises:
        TypeError: when the class is defined, if another class has the code already.

    Example:
        >>> class QuotaExceededError(PostgresError):
        ...     sqlstate = "QU001"
        ...     kind = "resource"
        >>> PostgresError.new({"C": "QU001", "M": "quota exceeded"})
        QuotaExceededError('quota exceeded')
    """

    severity: str | None = None
    severity_en: str | None = None
    sqlstate: str | None = None
    message: str | None = None
    detail: str | None = None
    hint: str | None = None
    position: str | None = None
    internal_position: str | None = None
    internal_query: str | None = None
    context: str | None = None
    schema_name: str | None = None
    table_name: str | None = None
    column_name: str | None = None
    data_type_name: str | None = None
    constraint_name: str | None = None
    server_source_filename: str | None = None
    server_source_line: str | None = None
    server_source_function: str | None = None
    query: str | None = None
    batch_index: int | None = None
    kind: Kind = "permanent"
    outcome: Outcome = "unknown"

    def __init_subclass__(cls, *, routine: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own_sqlstate = cls.__dict__.get("sqlstate")
        if isinstance(own_sqlstate, str):
            _register((own_sqlstate, None), cls)
            _classify(own_sqlstate, cls)
            if cls.__doc__ is None:
                cls.__doc__ = f"SQLSTATE {own_sqlstate}."
        if routine is not None and cls.sqlstate is not None:
            _register((cls.sqlstate, routine), cls)

    def as_dict(self) -> dict[str, str]:
        """Return the fields that are set, by attribute name.

        Returns:
            A new dict in the order of the protocol's field table; ``query``, which is
            not a field, is not in it.

        Example:
            >>> PostgresError.new({"C": "QU001", "M": "no"}).as_dict()
            {'sqlstate': 'QU001', 'message': 'no'}
        """
        pairs = ((name, getattr(self, name)) for name in _FIELDS.values())
        return {name: value for name, value in pairs if value is not None}


def _register(key: _Key, cls: type[PostgresMessage]) -> None:
    """Make `cls` the class for `key`; the same class may be defined again."""
    known = _classes.get(key, cls)
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise TypeError(
            f"class {cls.__qualname__}: sqlstate {key[0]!r} belongs to"
            f" {known.__module__}.{known.__qualname__}; derive from that class without"
            " setting sqlstate, or use another code"
        )
    _classes[key] = cls


def _classify(sqlstate: str, cls: type[PostgresMessage]) -> None:
    """Give `cls` the kind and the outcome of its code, unless its body says them."""
    tables: tuple[tuple[str, Mapping[str, str]], ...]
    tables = (("kind", _KINDS), ("outcome", _OUTCOMES))
    for name, table in tables:
        word = table.get(sqlstate) or table.get(sqlstate[:2])
        if word is not None and name not in cls.__dict__:
            setattr(cls, name, word)


_MessageT = TypeVar("_MessageT", bound=PostgresMessage)


def _class_for(kind: type[_MessageT], keys: Iterable[_Key]) -> type[_MessageT] | None:
    """Return the first class registered for one of `keys` that derives from `kind`.

    The check matters: ``RAISE EXCEPTION USING ERRCODE = '01000'`` is an error with the
    code of a warning, ``RAISE WARNING USING ERRCODE = '22012'`` the reverse.
    """
    for key in keys:
        found = _classes.get(key)
        if found is not None and issubclass(found, kind):
            return found
    return None


def _attributes(fields: Mapping[str, str], query: str | None) -> dict[str, str | None]:
    """Translate one-letter field codes to attributes; codes that are not known go."""
    attributes: dict[str, str | None] = {"query": query}
    for code, value in fields.items():
        name = _FIELDS.get(code)
        if name is not None and value is not None:
            attributes[name] = value
    return attributes


def _with_details(text: str, detail: str | None, hint: str | None) -> str:
    if detail:
        text += f"\nDETAIL:  {detail}"
    if hint:
        text += f"\nHINT:  {hint}"
    return text


class PostgresError(PostgresMessage, Exception):
    """Base class of all errors that the server reports.

    Catch the class of a SQLSTATE (`UniqueViolationError`), of a whole class of them
    (`IntegrityConstraintViolationError`) or this one. ``str()`` is the message,
    followed by DETAIL and HINT where the server sent them; ``query`` is the SQL text
    of the statement, where it is known, and ``batch_index`` its position (from 0) among
    the statements of a batch, group or script, or that of its arguments in
    `executemany`. ``kind`` and ``outcome`` tell whether to try
    again, and whether that is safe.

    Source: PostgreSQL docs, "PostgreSQL Error Codes".
    """

    outcome: Outcome = "rolled_back"
    _text: ClassVar[str | None] = None  # replaces the server's message in str()

    @classmethod
    def new(cls, fields: Mapping[str, str], query: str | None = None) -> PostgresError:
        """Make the error that the fields of an ErrorResponse describe.

        Args:
            fields: the fields by their one-letter codes.
            query: the SQL text that failed, if known.

        Returns:
            An instance of the class for the SQLSTATE, see the table in this module;
            the class that `new` is called on does not matter.

        Example:
            >>> PostgresError.new({"S": "ERROR", "C": "QU999", "M": "no"}).sqlstate
            'QU999'
        """
        attributes = _attributes(fields, query)
        sqlstate = attributes.get("sqlstate") or ""
        routine = attributes.get("server_source_function")
        keys = ((sqlstate, routine), (sqlstate, None), (sqlstate[:2] + "000", None))
        error_class = _class_for(PostgresError, keys) or UnknownPostgresError
        if (fields.get("V") or fields.get("S")) != "ERROR":
            attributes["outcome"] = _FATAL_OUTCOMES.get(sqlstate, "unknown")
        note = _POOLER_HINTS.get(sqlstate)
        if note is not None:
            hint = attributes.get("hint")
            attributes["hint"] = f"{hint}\n{note}" if hint else note
        text = error_class._text or attributes.get("message") or ""
        error = error_class(text)
        error.__dict__.update(attributes)
        return error

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        return _with_details(text, self.detail, self.hint)


class FatalPostgresError(PostgresError):
    """An error after which the connection should not be used."""


class UnknownPostgresError(FatalPostgresError):
    """An error whose SQLSTATE is absent or of no known class."""


class PostgresLogMessage(PostgresMessage):
    """Base class of what the server says that is not an error: notices and logs.

    Messages are immutable, because every listener gets the same one.

    Source: PostgreSQL docs, "Message Formats", NoticeResponse.
    """

    @classmethod
    def new(
        cls, fields: Mapping[str, str], query: str | None = None
    ) -> PostgresLogMessage:
        """Make the message that the fields of a NoticeResponse describe.

        Args:
            fields: the fields by their one-letter codes.
            query: the SQL text that was running, if known.

        Returns:
            An instance of the warning class for the SQLSTATE; without one,
            `PostgresWarning` for severity WARNING, else `PostgresLogMessage`.

        Example:
            >>> str(PostgresLogMessage.new({"S": "NOTICE", "M": "table is empty"}))
            'PostgresLogMessage: table is empty'
        """
        attributes = _attributes(fields, query)
        keys = [(attributes.get("sqlstate") or "", None)]
        if (fields.get("V") or fields.get("S")) == "WARNING":
            keys.append(("01000", None))
        message_class = _class_for(PostgresLogMessage, keys) or PostgresLogMessage
        is_exception = issubclass(message_class, BaseException)
        args = (attributes.get("message") or "",) if is_exception else ()
        return _restore_log_message(message_class, args, attributes)

    def __str__(self) -> str:
        return f"{type(self).__name__}: {self.message}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r})"

    def __setattr__(self, name: str, value: object) -> None:
        # raise, warnings and contextlib write __traceback__ and its like
        if not name.startswith("__"):
            self._refuse_change(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_change(name)

    def __reduce__(self) -> tuple[Any, ...]:
        args = getattr(self, "args", ())
        return _restore_log_message, (type(self), args, dict(self.__dict__))

    def _refuse_change(self, name: str) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(f"instances of {kind} are immutable: cannot change {name!r}")


def _restore_log_message(
    message_class: type[PostgresLogMessage],
    args: tuple[object, ...],
    attributes: Mapping[str, object],
) -> PostgresLogMessage:
    """Make a message with all its attributes; also what unpickling calls."""
    message = message_class(*args)
    message.__dict__.update(attributes)
    return message


class InterfaceMessage:
    """What client-side errors and warnings have in common: detail and hint."""

    kind: Kind = "client"
    outcome: Outcome = "unknown"
    batch_index: int | None = None
    args: tuple[Any, ...]
    detail: str | None
    hint: str | None

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        return _with_details(text, self.detail, self.hint)


class InterfaceError(InterfaceMessage, Exception):
    """The driver was used in a way that cannot work.

    Args:
        msg: what is wrong.
        detail: more about it.
        hint: what to do.

    Example:
        >>> print(InterfaceError("pool is closed", hint="create a new pool"))
        pool is closed
        HINT:  create a new pool
    """

    outcome: Outcome = "not_sent"

    def __init__(
        self, msg: str, *, detail: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(msg)
        self.detail = detail
        self.hint = hint

    def with_msg(self, msg: str) -> Self:
        """Return the same error with another message.

        Args:
            msg: the new message; detail, hint, outcome, notes and traceback are kept.

        Example:
            >>> InterfaceError("closed").with_msg("cannot call f(): closed")
            InterfaceError('cannot call f(): closed')
        """
        error = type(self)(msg)
        error.__dict__.update(self.__dict__)
        return error.with_traceback(self.__traceback__)


class InterfaceWarning(InterfaceMessage, UserWarning):
    """The driver was used in a way that works but is likely a mistake.

    Args:
        msg: what is wrong.
        detail: more about it.
        hint: what to do.
    """

    def __init__(
        self, msg: str, *, detail: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(msg)
        self.detail = detail
        self.hint = hint


class ClientConfigurationError(InterfaceError, ValueError):
    """A connection parameter, DSN or configuration file has an invalid value."""


class UnsupportedClientFeatureError(InterfaceError):
    """The driver does not support what was asked for."""


class UnsupportedServerFeatureError(InterfaceError):
    """The server does not support what was asked for."""


class PoolError(InterfaceError):
    """The pool gives no connection.

    Args:
        msg: why not.
        detail: more about it.
        hint: what to do.
    """

    kind: Kind = "pool"


class PoolTimeoutError(PoolError, TimeoutError):
    """No connection came free in time; ``detail`` names who holds them."""


class PoolDeadlockError(PoolError):
    """No connection can come free: those who hold them wait for more of them."""


class PoolDisabledError(PoolError):
    """The pool was told to give no connections for now."""


class PipelineAbortedError(InterfaceError):
    """A statement has taken no effect, because another one of its group has failed.

    That one's error is its ``__cause__``, and ``batch_index`` its place in the group.
    """

    kind: Kind = "permanent"
    outcome: Outcome = "rolled_back"


class InternalClientError(Exception):
    """Base class of failures that are not the caller's."""

    kind: Kind = "permanent"
    outcome: Outcome = "unknown"


class ProtocolError(InternalClientError):
    """The peer broke the protocol; the connection is closed."""


class OutdatedSchemaCacheError(InternalClientError):
    """A type changed on the server between its introspection and a row that uses it.

    Reload with ``Connection.reload_schema_state()`` and run the statement again.

    Args:
        msg: what does not fit.
        schema: schema of the type, kept as ``schema_name``.
        data_type: name of the type, kept as ``data_type_name``.
        position: index of the attribute in the type, from 0.
    """

    def __init__(
        self,
        msg: str,
        *,
        schema: str | None = None,
        data_type: str | None = None,
        position: int | None = None,
    ) -> None:
        super().__init__(msg)
        self.schema_name = schema
        self.data_type_name = data_type
        self.position = position


class TargetServerAttributeNotMatched(InternalClientError):
    """No host satisfies ``target_session_attrs``."""

    # in a fail-over, one that does may be on its way
    kind: Kind = "transient"
    outcome: Outcome = "not_sent"
