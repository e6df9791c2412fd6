"""Whether it is any use to try again, and safe: `kind` and `outcome` of every error."""

import asyncio
import concurrent.futures
import copy
import errno
import pickle
import socket
import ssl
from typing import get_args

import pytest

from chopin import _errorbase, _sqlstates, exceptions
from chopin.exceptions import (
    AdminShutdownError,
    ConnectionDoesNotExistError,
    DataError,
    InterfaceError,
    PostgresError,
    PostgresWarning,
    SerializationError,
)
from chopin.retry import kind_of, outcome_of

# Code by code, so that a row for a whole class in the driver cannot take one along
# that nobody thought of. What is not here is permanent.
KINDS = {
    "transient": "08000 08001 08003 08004 08006 08007 25P03 40000 40001 40003 40P01"
    " 55006 55P03 57000 57P01 57P02 57P03 57P05 72000 HV00N",
    "resource": "53000 53100 53200 53300 53400 HV001 HV014",
    "canceled": "25P04 57014",
}
KIND_OF = {code: kind for kind, codes in KINDS.items() for code in codes.split()}
# After an ERROR; what is not here is rolled back.
UNKNOWN = {"08000", "08003", "08006", "08007", "40003"}
# After a FATAL; what is not here is unknown.
AFTER_FATAL = {
    "25P03": "rolled_back",
    "28000": "not_sent",
    "28P01": "not_sent",
    "3D000": "not_sent",
    "40001": "rolled_back",
    "53300": "not_sent",
    "57P03": "not_sent",
    "57P05": "not_sent",
}
# What Npgsql calls transient and we do not: 55000 is a state that lasts, 58000 and
# 58030 are for a person.
NPGSQL = (
    "53000 53100 53200 53300 53400 57P03 58000 58030 40001 40P01 55P03 55006 55000"
    " 08000 08003 08006 08001 08004 08007 57P01 57P02 57P05"
)
NOT_LIKE_NPGSQL = {"55000", "58000", "58030"}

CLIENT_SIDE = {
    "ClientConfigurationError": ("client", "not_sent"),
    "FatalPostgresError": ("permanent", "rolled_back"),
    "InterfaceError": ("client", "not_sent"),
    "InterfaceWarning": ("client", "unknown"),
    "InternalClientError": ("permanent", "unknown"),
    "InvalidCachedStatementError": ("transient", "rolled_back"),
    "OutdatedSchemaCacheError": ("permanent", "unknown"),
    "PipelineAbortedError": ("permanent", "rolled_back"),
    "PoolDeadlockError": ("pool", "not_sent"),
    "PoolDisabledError": ("pool", "not_sent"),
    "PoolError": ("pool", "not_sent"),
    "PoolTimeoutError": ("pool", "not_sent"),
    "PostgresError": ("permanent", "rolled_back"),
    "PostgresLogMessage": ("permanent", "unknown"),
    "PostgresMessage": ("permanent", "unknown"),
    "ProtocolError": ("permanent", "unknown"),
    "TargetServerAttributeNotMatched": ("transient", "not_sent"),
    "UnknownPostgresError": ("permanent", "rolled_back"),
    "UnsupportedClientFeatureError": ("client", "not_sent"),
    "UnsupportedServerFeatureError": ("client", "not_sent"),
}

GENERATED = [
    cls
    for cls in vars(_sqlstates).values()
    if isinstance(cls, type) and cls.__dict__.get("sqlstate")
]
ERRORS = [cls for cls in GENERATED if issubclass(cls, PostgresError)]
WARNINGS = [cls for cls in GENERATED if cls not in ERRORS]
CODES = {cls.sqlstate for cls in ERRORS}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Forget the classes that a test registers."""
    monkeypatch.setattr(_errorbase, "_classes", dict(_errorbase._classes))


def fatal(code, severity="FATAL"):
    """What the server sends when it ends a session."""
    return PostgresError.new({"S": severity, "V": severity, "C": code, "M": "m"})


# -- the tables ----------------------------------------------------------------


def test_the_tables_name_codes_that_are_there():
    """A row for a code that no class has would pin nothing."""
    assert len(CODES) == len(ERRORS) >= 250
    assert KIND_OF.keys() | UNKNOWN | AFTER_FATAL.keys() <= CODES
    assert len(KIND_OF) == sum(len(codes.split()) for codes in KINDS.values())


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.sqlstate)
def test_every_sqlstate(cls):
    """The kind of a code is the same for every severity, the outcome is not."""
    code = cls.sqlstate
    kind = KIND_OF.get(code, "permanent")
    outcome = "unknown" if code in UNKNOWN else "rolled_back"
    error = PostgresError.new({"S": "FEHLER", "V": "ERROR", "C": code, "M": "m"})
    assert type(error) is cls
    assert (error.kind, error.outcome) == (cls.kind, cls.outcome) == (kind, outcome)
    ended = fatal(code)
    assert (ended.kind, ended.outcome) == (kind, AFTER_FATAL.get(code, "unknown"))
    assert fatal(code, "PANIC").outcome == ended.outcome


@pytest.mark.parametrize("cls", WARNINGS, ids=lambda cls: cls.sqlstate)
def test_warnings_that_were_raised(cls):
    """A warning of the server says nothing of what the statement did."""
    assert (cls.kind, cls.outcome) == ("permanent", "unknown")


def test_every_class_without_a_code():
    """Every other class of ours is in the table, and as it says."""
    others = {
        name: getattr(exceptions, name)
        for name in exceptions.__all__
        if getattr(exceptions, name) not in GENERATED
    }
    assert {n: (cls.kind, cls.outcome) for n, cls in others.items()} == CLIENT_SIDE


def test_npgsql_agrees_but_for_what_is_named():
    """Nearly twenty years of users have found its list worth trying again."""
    ours = {code for code, kind in KIND_OF.items() if kind in ("transient", "resource")}
    assert set(NPGSQL.split()) - ours == NOT_LIKE_NPGSQL


# -- errors of the server ------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("40999", "transient"),
        ("53Z01", "resource"),
        ("57Z99", "transient"),
        ("23999", "permanent"),
        ("ZZ999", "permanent"),
        ("01000", "permanent"),
    ],
)
def test_codes_of_other_servers_are_of_the_kind_of_their_class(code, kind):
    """A code without a class of its own is what its first two characters say."""
    error = PostgresError.new({"S": "ERROR", "C": code, "M": "m"})
    assert (error.kind, error.outcome) == (kind, "rolled_back")


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"S": "ERROR"}, "rolled_back"),
        ({"S": "FEHLER", "V": "ERROR"}, "rolled_back"),
        ({"S": "FATAL"}, "unknown"),
        ({"S": "ERROR", "V": "FATAL"}, "unknown"),
        # before 9.6 only the translation was sent
        ({"S": "ВАЖНО"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_only_an_error_is_known_to_be_undone(fields, outcome):
    """A severity that is not understood is taken for the end of the session."""
    assert PostgresError.new({**fields, "C": "57P01"}).outcome == outcome


def test_a_stale_plan_may_be_tried_again():
    """It is the statement of before that no longer fits, not the one to come."""
    fields = {"S": "ERROR", "C": "0A000", "M": "m", "R": "RevalidateCachedQuery"}
    assert PostgresError.new(fields).kind == "transient"
    assert PostgresError.new({**fields, "R": "transformStmt"}).kind == "permanent"


def test_an_error_made_by_hand_is_like_one_of_the_server():
    """Programs test what they do about a conflict without having one."""
    error = SerializationError("could not serialize access")
    assert (error.kind, error.outcome) == ("transient", "rolled_back")


# -- classes of users ----------------------------------------------------------


def test_classes_of_users_are_of_the_kind_of_their_code():
    """Whatever they derive from: the code is what the server meant."""

    class QuotaError(PostgresError):
        sqlstate = "53TS1"

    class TenantError(PostgresError):
        sqlstate = "TS001"

    class LinkError(PostgresError):
        sqlstate = "08TS1"

    assert (QuotaError.kind, QuotaError.outcome) == ("resource", "rolled_back")
    assert (TenantError.kind, TenantError.outcome) == ("permanent", "rolled_back")
    assert (LinkError.kind, LinkError.outcome) == ("transient", "unknown")
    assert PostgresError.new({"S": "ERROR", "C": "53TS1"}).kind == "resource"


def test_classes_of_users_may_say_it_themselves():
    """Their word counts for them and for what derives from them."""

    class BusyError(PostgresError):
        sqlstate = "53TS2"
        kind = "permanent"
        outcome = "unknown"

    class VeryBusyError(BusyError):
        sqlstate = "TS002"

    class ConflictError(SerializationError):
        pass

    for cls in (BusyError, VeryBusyError):
        error = PostgresError.new({"S": "ERROR", "C": cls.sqlstate})
        assert (error.kind, error.outcome) == ("permanent", "unknown")
    assert ConflictError.kind == "transient"


# -- what is assigned ----------------------------------------------------------


@pytest.mark.parametrize(
    "carry",
    [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
@pytest.mark.parametrize(
    "error",
    [
        ConnectionDoesNotExistError("lost"),
        DataError("invalid input"),
        InterfaceError("closed", hint="h"),
        exceptions.PoolTimeoutError("late", detail="d"),
        exceptions.ProtocolError("odd"),
        fatal("57P01"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_assigned_to_an_error_stays_with_it(error, carry):
    """Who makes an error may know better; the class does not change with it."""
    error = copy.copy(error)
    error.kind, error.outcome = "canceled", "rolled_back"
    got = carry(error)
    assert (got.kind, got.outcome) == ("canceled", "rolled_back")
    assert (kind_of(got), outcome_of(got)) == ("canceled", "rolled_back")
    assert getattr(type(error), "kind", None) != "canceled"


def test_the_outcome_after_fatal_survives_pickle():
    """It is not what the class says."""
    got = pickle.loads(pickle.dumps(fatal("57P01")))
    assert type(got) is AdminShutdownError
    assert (got.outcome, AdminShutdownError.outcome) == ("unknown", "rolled_back")


def test_another_message_is_no_other_outcome():
    """`with_msg` keeps what was assigned."""
    error = InterfaceError("connection is closed", detail="d")
    error.outcome = "unknown"
    other = error.with_msg("cannot call Connection.fetch(): connection is closed")
    assert (other.outcome, other.kind, other.detail) == ("unknown", "client", "d")


def test_the_fields_of_a_message_are_what_they_were():
    """`as_dict` has what the server sent, and nothing of ours."""
    assert fatal("57P01").as_dict() == {
        "severity": "FATAL",
        "severity_en": "FATAL",
        "sqlstate": "57P01",
        "message": "m",
    }


# -- any error -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "outcome"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "m"), "transient", "not_sent"),
        (socket.gaierror(socket.EAI_AGAIN, "m"), "transient", "not_sent"),
        (ConnectionResetError(), "transient", "unknown"),
        (BrokenPipeError(), "transient", "unknown"),
        (OSError(errno.ENETUNREACH, "m"), "transient", "unknown"),
        (OSError(errno.EHOSTUNREACH, "m"), "transient", "unknown"),
        (OSError(errno.ETIMEDOUT, "m"), "transient", "unknown"),
        (OSError(errno.EMFILE, "m"), "resource", "not_sent"),
        (OSError(errno.EADDRNOTAVAIL, "m"), "resource", "not_sent"),
        (TimeoutError(), "canceled", "unknown"),
        (asyncio.CancelledError(), "canceled", "unknown"),
        (concurrent.futures.CancelledError(), "permanent", "unknown"),
        (FileNotFoundError(errno.ENOENT, "m"), "permanent", "unknown"),
        (OSError("m"), "permanent", "unknown"),
        (ssl.SSLError(ssl.SSL_ERROR_SYSCALL, "m"), "permanent", "unknown"),
        (ValueError(), "permanent", "unknown"),
        (KeyboardInterrupt(), "permanent", "unknown"),
        (SerializationError(), "transient", "rolled_back"),
        (InterfaceError("m"), "client", "not_sent"),
        (exceptions.PoolTimeoutError("m"), "pool", "not_sent"),
        (PostgresWarning("m"), "permanent", "unknown"),
    ],
    ids=repr,
)
def test_any_error_has_a_kind_and_an_outcome(error, kind, outcome):
    """Ours say it; of the others it is known by class or number."""
    assert (kind_of(error), outcome_of(error)) == (kind, outcome)


@pytest.mark.parametrize("word", ["transient!", "", None, 1, ["transient"], object()])
def test_attributes_that_others_have_by_the_same_name_mean_nothing(word):
    """Only our own words are believed."""
    error = ConnectionRefusedError()
    error.kind = error.outcome = word
    assert (kind_of(error), outcome_of(error)) == ("transient", "not_sent")


@pytest.mark.parametrize("kind", get_args(exceptions.Kind))
@pytest.mark.parametrize("outcome", get_args(exceptions.Outcome))
def test_attributes_that_were_assigned_to_others_errors_count(kind, outcome):
    """A time-out of ours is Python's TimeoutError, with what we know of it."""
    error = TimeoutError()
    error.kind, error.outcome = kind, outcome
    assert (kind_of(error), outcome_of(error)) == (kind, outcome)


def test_the_system_really_says_so():
    """Nobody listens: the error is the one that the table expects."""
    with socket.socket() as bound, socket.socket() as other:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(OSError) as caught:
            other.connect(bound.getsockname())
    error = caught.value
    assert (kind_of(error), outcome_of(error)) == ("transient", "not_sent")
