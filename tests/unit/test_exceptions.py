"""The classes of errors and notices, and how a server's message becomes one."""

import asyncio
import copy
import pickle
import warnings

import pytest

from chopin import exceptions
from chopin.exceptions import (
    InterfaceError,
    InterfaceWarning,
    InvalidCachedStatementError,
    OutdatedSchemaCacheError,
    PostgresError,
    PostgresLogMessage,
    PostgresWarning,
    UniqueViolationError,
    UnknownPostgresError,
)

ALL_FIELDS = {
    "S": "FEHLER",
    "V": "ERROR",
    "C": "23505",
    "M": "duplicate key",
    "D": "key (id)=(1) exists",
    "H": "use another key",
    "P": "4",
    "p": "3",
    "q": "SELECT 2",
    "W": "PL/pgSQL function f()",
    "s": "public",
    "t": "users",
    "c": "id",
    "d": "int4",
    "n": "users_pkey",
    "F": "nbtinsert.c",
    "L": "666",
    "R": "_bt_check_unique",
}
ALL_ATTRIBUTES = {
    "severity": "FEHLER",
    "severity_en": "ERROR",
    "sqlstate": "23505",
    "message": "duplicate key",
    "detail": "key (id)=(1) exists",
    "hint": "use another key",
    "position": "4",
    "internal_position": "3",
    "internal_query": "SELECT 2",
    "context": "PL/pgSQL function f()",
    "schema_name": "public",
    "table_name": "users",
    "column_name": "id",
    "data_type_name": "int4",
    "constraint_name": "users_pkey",
    "server_source_filename": "nbtinsert.c",
    "server_source_line": "666",
    "server_source_function": "_bt_check_unique",
}
STALE_PLAN = {
    "S": "ERROR",
    "C": "0A000",
    "M": "cached plan must not change result type",
    "R": "RevalidateCachedQuery",
}


@pytest.fixture
def registry(monkeypatch):
    """Forget the classes that a test registers."""
    from chopin import _errorbase

    monkeypatch.setattr(_errorbase, "_classes", dict(_errorbase._classes))


def is_message(value):
    roots = (BaseException, exceptions.PostgresMessage)
    return isinstance(value, type) and issubclass(value, roots)


def error_classes():
    classes = (getattr(exceptions, name) for name in exceptions.__all__)
    return [cls for cls in classes if vars(cls).get("sqlstate")]


# -- the names -----------------------------------------------------------------


def test_all_names_are_unique_and_live_in_the_public_module():
    assert len(set(exceptions.__all__)) == len(exceptions.__all__)
    public = {name for name, value in vars(exceptions).items() if is_message(value)}
    assert set(exceptions.__all__) == public
    for name in exceptions.__all__:
        cls = getattr(exceptions, name)
        assert (cls.__module__, cls.__qualname__) == ("chopin.exceptions", name)
        assert cls.__doc__


def test_every_name_of_asyncpg_is_there_with_the_same_sqlstate_and_bases():
    theirs = pytest.importorskip("asyncpg.exceptions")
    for name in theirs.__all__:
        cls, their_cls = getattr(exceptions, name), getattr(theirs, name)
        assert names_of_mro(cls) == names_of_mro(their_cls)
        assert getattr(cls, "sqlstate", None) == getattr(their_cls, "sqlstate", None)


def names_of_mro(cls):
    return [base.__name__ for base in cls.__mro__]


@pytest.mark.parametrize(
    ("sqlstate", "name"),
    [
        ("10608", "InvalidArgumentForXqueryError"),  # after PostgreSQL 16
        ("25P04", "TransactionTimeoutError"),  # after PostgreSQL 16
        ("58P03", "FileNameTooLongError"),  # after PostgreSQL 16
        ("72000", "SnapshotTooOldError"),  # up to PostgreSQL 16
        ("22000", "DataError"),
        ("40001", "SerializationError"),
    ],
)
def test_codes_of_old_and_new_servers_are_known(sqlstate, name):
    assert type(PostgresError.new({"C": sqlstate})).__name__ == name


def test_every_generated_class_is_found_by_its_code():
    assert len(error_classes()) >= 262
    for cls in error_classes():
        root = PostgresError if issubclass(cls, PostgresError) else PostgresLogMessage
        assert type(root.new({"C": cls.sqlstate})) is cls


# -- errors --------------------------------------------------------------------


def test_all_fields_become_attributes():
    error = PostgresError.new(ALL_FIELDS, "INSERT 1")
    assert type(error) is UniqueViolationError
    assert error.as_dict() == ALL_ATTRIBUTES
    assert list(error.as_dict()) == list(ALL_ATTRIBUTES)
    assert {name: getattr(error, name) for name in ALL_ATTRIBUTES} == ALL_ATTRIBUTES
    assert error.query == "INSERT 1"
    assert error.args == ("duplicate key",)


def test_detail_and_hint_are_part_of_the_text():
    assert str(PostgresError.new({"M": "m"})) == "m"
    assert str(PostgresError.new({"M": "m", "D": "d"})) == "m\nDETAIL:  d"
    assert str(PostgresError.new({"M": "m", "H": "h"})) == "m\nHINT:  h"
    both = PostgresError.new({"M": "m", "D": "d", "H": "h"})
    assert str(both) == "m\nDETAIL:  d\nHINT:  h"
    assert str(PostgresError.new({"M": "m", "D": "", "H": ""})) == "m"


@pytest.mark.parametrize(
    "fields",
    [{}, {"M": "m"}, {"C": ""}, {"C": "2"}, {"C": "ü" * 9}, {"Y": "new field"}],
)
def test_missing_odd_and_unknown_fields_give_an_unknown_error(fields):
    error = PostgresError.new(fields)
    assert type(error) is UnknownPostgresError
    assert str(error) == fields.get("M", "")
    assert error.sqlstate == fields.get("C")
    assert error.query is None


@pytest.mark.parametrize(
    ("sqlstate", "name"),
    [
        ("23999", "IntegrityConstraintViolationError"),
        ("57Z01", "OperatorInterventionError"),
        ("10999", "UnknownPostgresError"),  # 10000 is not a code
        ("ABCDE", "UnknownPostgresError"),
        ("00000", "UnknownPostgresError"),
    ],
)
def test_an_unknown_code_falls_back_to_its_class(sqlstate, name):
    error = PostgresError.new({"C": sqlstate, "M": "m"})
    assert type(error).__name__ == name
    assert error.sqlstate == sqlstate


@pytest.mark.parametrize("sqlstate", ["01000", "01004", "01999", "02000"])
def test_an_error_with_the_code_of_a_warning_is_still_an_error(sqlstate):
    error = PostgresError.new({"S": "ERROR", "C": sqlstate, "M": "m"})
    assert type(error) is UnknownPostgresError


@pytest.mark.parametrize("severity", ["ERROR", "FATAL", "PANIC"])
@pytest.mark.parametrize(
    ("sqlstate", "name"),
    [("57P01", "AdminShutdownError"), ("99999", "UnknownPostgresError")],
)
def test_the_severity_does_not_choose_the_class(severity, sqlstate, name):
    error = PostgresError.new({"S": severity, "V": severity, "C": sqlstate})
    assert type(error).__name__ == name
    assert error.severity == severity


def test_new_looks_at_the_fields_and_not_at_the_class_it_is_called_on():
    assert type(exceptions.DataError.new({"C": "23505"})) is UniqueViolationError


def test_a_stale_plan_has_its_own_error_with_asyncpgs_text():
    error = PostgresError.new(STALE_PLAN)
    assert type(error) is InvalidCachedStatementError
    assert str(error) == (
        "cached statement plan is invalid due to a database schema or configuration"
        " change"
    )
    assert error.message == "cached plan must not change result type"
    other = PostgresError.new({**STALE_PLAN, "R": "transformStmt"})
    assert type(other) is exceptions.FeatureNotSupportedError
    assert str(other) == "cached plan must not change result type"


def test_a_failed_cache_lookup_is_an_internal_server_error():
    fields = {"C": "XX000", "M": "cache lookup failed for type 12345"}
    assert type(PostgresError.new(fields)) is exceptions.InternalServerError


@pytest.mark.parametrize("sqlstate", ["42P05", "26000"])
def test_lost_prepared_statements_hint_at_poolers(sqlstate):
    alone = PostgresError.new({"C": sqlstate, "M": "m"})
    assert "pooler" in alone.hint
    assert "statement_cache_size=0" in str(alone)
    added = PostgresError.new({"C": sqlstate, "M": "m", "H": "the server's"})
    assert added.hint == f"the server's\n{alone.hint}"


def test_an_error_made_by_hand_has_no_fields():
    error = UniqueViolationError("mine")
    assert str(error) == "mine"
    assert error.as_dict() == {"sqlstate": "23505"}
    assert error.query is None
    assert str(PostgresError()) == ""


@pytest.mark.parametrize(
    "fields",
    [
        {},
        ALL_FIELDS,
        {"C": "99999", "S": "FATAL", "M": "m", "H": "h"},
        {"C": "0A000", "S": "ERROR", "M": "m"},
        {"C": "57P03", "S": "FATAL", "V": "FATAL", "M": "the database is starting up"},
        STALE_PLAN,
    ],
)
def test_errors_are_like_asyncpgs(fields):
    theirs = pytest.importorskip("asyncpg.exceptions").PostgresError
    ours, other = PostgresError.new(fields, "q"), theirs.new(fields, "q")
    assert str(ours) == str(other)
    assert repr(ours) == repr(other)
    assert ours.as_dict() == other.as_dict()
    assert ours.args == other.args
    assert ours.query == other.query
    assert names_of_mro(type(ours)) == names_of_mro(type(other))


# -- classes of users ----------------------------------------------------------


def test_a_class_with_a_new_sqlstate_is_used_for_it(registry):
    class QuotaError(PostgresError):
        sqlstate = "TS000"

    class SpecialQuotaError(QuotaError):
        sqlstate = "TS001"

    class UnregisteredError(QuotaError):
        pass

    assert type(PostgresError.new({"C": "TS000"})) is QuotaError
    assert type(PostgresError.new({"C": "TS001"})) is SpecialQuotaError
    assert type(PostgresError.new({"C": "TS999"})) is QuotaError
    assert SpecialQuotaError.__doc__ == "SQLSTATE TS001."


def test_a_sqlstate_belongs_to_one_class(registry):
    with pytest.raises(TypeError, match=r"'23505' belongs to .*UniqueViolationError"):

        class Mine(UniqueViolationError):
            sqlstate = "23505"

    assert type(PostgresError.new({"C": "23505"})) is UniqueViolationError


def test_the_same_class_may_be_defined_again(registry):
    def define():
        class CellError(PostgresError):
            sqlstate = "TS002"

        return CellError

    define()
    second = define()
    assert type(PostgresError.new({"C": "TS002"})) is second


# -- notices -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "sqlstate", "name"),
    [
        ("NOTICE", "00000", "PostgresLogMessage"),
        ("LOG", "00000", "PostgresLogMessage"),
        ("WARNING", "00000", "PostgresWarning"),
        ("WARNING", "01000", "PostgresWarning"),
        ("NOTICE", "01000", "PostgresWarning"),
        ("NOTICE", "01999", "PostgresLogMessage"),
        ("WARNING", "01999", "PostgresWarning"),
        ("WARNING", "01P01", "DeprecatedFeature"),
        ("NOTICE", "02001", "NoAdditionalDynamicResultSetsReturned"),
    ],
)
def test_notices_are_like_asyncpgs(severity, sqlstate, name):
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": "m", "D": "d"}
    notice = PostgresLogMessage.new(fields)
    assert type(notice).__name__ == name
    assert isinstance(notice, PostgresLogMessage)
    assert str(notice) == f"{name}: m"
    theirs = pytest.importorskip("asyncpg.exceptions").PostgresLogMessage
    other = theirs.new(fields)
    assert names_of_mro(type(notice)) == names_of_mro(type(other))
    assert notice.as_dict() == other.as_dict()
    assert str(notice) == str(other)


def test_a_notice_with_the_code_of_an_error_is_still_a_notice():
    fields = {"S": "WARNUNG", "V": "WARNING", "C": "22012", "M": "m"}
    warning = PostgresLogMessage.new(fields)
    assert type(warning) is PostgresWarning
    assert warning.sqlstate == "22012"
    notice = PostgresLogMessage.new({**fields, "S": "HINWEIS", "V": "NOTICE"})
    assert type(notice) is PostgresLogMessage


def test_a_notice_without_fields_is_a_log_message():
    notice = PostgresLogMessage.new({})
    assert type(notice) is PostgresLogMessage
    assert notice.as_dict() == {}
    assert str(notice) == "PostgresLogMessage: None"


@pytest.mark.parametrize("sqlstate", ["00000", "01000"])
def test_notices_are_immutable(sqlstate):
    notice = PostgresLogMessage.new({"C": sqlstate, "M": "m"})
    with pytest.raises(TypeError, match="immutable"):
        notice.message = "other"
    with pytest.raises(TypeError, match="immutable"):
        notice.other = 1
    with pytest.raises(TypeError, match="immutable"):
        del notice.message
    assert notice.message == "m"


def test_a_warning_of_the_server_can_be_warned_and_raised():
    warning = PostgresLogMessage.new({"S": "WARNING", "C": "01000", "M": "m"})
    with pytest.warns(PostgresWarning, match="m"):
        warnings.warn(warning, stacklevel=1)
    with pytest.raises(PostgresWarning):
        raise warning
    warning.__traceback__ = None
    assert warning.__traceback__ is None


# -- errors of the client ------------------------------------------------------


@pytest.mark.parametrize("cls", [InterfaceError, InterfaceWarning])
def test_interface_messages_show_detail_and_hint(cls):
    assert str(cls("m")) == "m"
    assert str(cls("m", detail="d", hint="h")) == "m\nDETAIL:  d\nHINT:  h"
    assert repr(cls("m", hint="h")) == f"{cls.__name__}('m')"
    assert cls("m", detail="d").args == ("m",)


def test_with_msg_keeps_all_but_the_message():
    try:
        raise exceptions.ClientConfigurationError("m", detail="d", hint="h")
    except InterfaceError as error:
        other = error.with_msg("n")
        assert other.__traceback__ is error.__traceback__
        assert vars(other) == vars(error)
    assert type(other) is exceptions.ClientConfigurationError
    assert str(other) == "n\nDETAIL:  d\nHINT:  h"


def test_an_outdated_schema_cache_error_names_the_type():
    error = OutdatedSchemaCacheError("m", schema="s", data_type="t", position=3)
    assert (error.schema_name, error.data_type_name, error.position) == ("s", "t", 3)
    assert str(error) == "m"


POOL_ERRORS = [
    exceptions.PoolError,
    exceptions.PoolTimeoutError,
    exceptions.PoolDeadlockError,
    exceptions.PoolDisabledError,
]


@pytest.mark.parametrize("cls", POOL_ERRORS)
def test_errors_of_the_pool_are_interface_errors(cls):
    error = cls("m", detail="d", hint="h")
    assert isinstance(error, exceptions.PoolError)
    assert isinstance(error, InterfaceError)
    assert str(error) == "m\nDETAIL:  d\nHINT:  h"
    assert repr(error) == f"{cls.__name__}('m')"
    assert str(error.with_msg("n")) == "n\nDETAIL:  d\nHINT:  h"
    assert cls("m").detail is cls("m").hint is None


def test_who_expects_a_time_out_gets_that_of_the_pool():
    for kind in (TimeoutError, asyncio.TimeoutError):
        with pytest.raises(kind):
            raise exceptions.PoolTimeoutError("m", detail="d")
    assert not issubclass(exceptions.PoolDeadlockError, TimeoutError)


def test_a_configuration_error_is_a_value_error():
    assert issubclass(exceptions.ClientConfigurationError, ValueError)


# -- pickle and copy -----------------------------------------------------------

CARRIERS = [
    *[
        lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ],
    copy.copy,
    copy.deepcopy,
]
CARRIED = [
    PostgresError.new(ALL_FIELDS, "INSERT 1"),
    PostgresError.new({}),
    PostgresError.new({"C": "99999", "M": "m"}),
    PostgresError.new({"C": "42P05", "M": "m", "H": "h"}),
    PostgresError.new(STALE_PLAN),
    UniqueViolationError("mine"),
    PostgresLogMessage.new({"S": "NOTICE", "C": "00000", "M": "m"}),
    PostgresLogMessage.new({"S": "WARNING", "C": "01000", "M": "m", "D": "d"}),
    InterfaceError("m", detail="d", hint="h"),
    InterfaceWarning("m", detail="d", hint="h"),
    exceptions.ClientConfigurationError("m", hint="h"),
    OutdatedSchemaCacheError("m", schema="s", data_type="t", position=3),
    exceptions.ProtocolError("m"),
    *[cls("m", detail="d", hint="h") for cls in POOL_ERRORS],
]


@pytest.mark.parametrize("carry", CARRIERS)
@pytest.mark.parametrize("value", CARRIED, ids=lambda value: type(value).__name__)
def test_errors_and_notices_survive_pickle_and_copy(carry, value):
    got = carry(value)
    assert got is not value
    assert type(got) is type(value)
    assert str(got) == str(value)
    assert vars(got) == vars(value)
    assert getattr(got, "args", None) == getattr(value, "args", None)


def test_every_class_survives_pickle():
    for name in exceptions.__all__:
        cls = getattr(exceptions, name)
        if issubclass(cls, BaseException):
            got = pickle.loads(pickle.dumps(cls("m")))
            assert type(got) is cls
            assert got.args == ("m",)
