"""The arguments of a pool: which are refused, with what words, and what they become."""

import asyncio
import inspect
import math
import sys
import typing
from unittest.mock import AsyncMock, create_autospec

import asyncpg
import pytest

import chopin
from chopin._budget import Budget, Limit
from chopin._poolsettings import PoolOptions, PoolSettings, run_hook
from chopin.config import ConnectOptions
from chopin.exceptions import InterfaceError

DSN = "postgresql://web@db.example/app"
NO_NUMBERS = [True, "5", 2.5]
NO_SECONDS = [-1, -0.1, True, "5", math.nan]


class Connection(chopin.Connection):
    """The user's own, with nothing of its own."""


class ResetConnection(chopin.Connection):
    """Is brought back to order in the user's own way."""

    def __init__(self):  # no session behind it
        self.calls = []

    def __del__(self):
        """There is nothing to close."""

    async def reset(self, *, timeout=None):
        self.calls.append("reset")


class TidyConnection(chopin.Connection):
    """Is brought back to order by the user's own SQL."""

    def get_reset_query(self):
        return "RESET ALL"


class Row(chopin.Record):
    """The user's own."""


class MadeRow(chopin.Record):
    """Has a constructor, which no row may have."""

    def __new__(cls):
        return super().__new__(cls)


async def hook(connection):
    """Do nothing."""


def settings(**options):
    """The settings of a pool that nobody else shares a budget with."""
    return PoolSettings(DSN, **options)


# What is refused


def wrong(name, values, words, error=ValueError):
    """One case for each value: an argument, and how the message begins."""
    return [
        pytest.param(
            {name: value},
            error,
            f"{name} {words}",
            id=f"{name}-{getattr(value, '__name__', repr(value))}",
        )
        for value in values
    ]


POSITIVE = "is expected to be greater than zero, got "
AT_MOST = f"is expected to be at most {sys.maxsize}, got "
NOT_NEGATIVE = "is expected to be greater or equal to zero, got "
SECONDS = "is expected to be greater or equal to zero (seconds) or None, got "
FUNCTION = "is expected to be a coroutine function, got "
RESET = 'is expected to be "auto", "always", "never", SQL or a coroutine function, got '
VALIDATE = (
    'is expected to be "off", "always", "idle:SECONDS" or "background:SECONDS", got '
)
WRONG = [
    *wrong("max_size", [0, -1, True, 2.5], POSITIVE),
    *wrong("min_size", [-1, *NO_NUMBERS], NOT_NEGATIVE),
    *wrong("init_size", [-1, *NO_NUMBERS], NOT_NEGATIVE),
    *wrong("max_queries", [0, -1, *NO_NUMBERS], POSITIVE),
    *wrong("pipeline_depth", [0, -1, *NO_NUMBERS], POSITIVE),
    *wrong("per_loop", [0, -1, *NO_NUMBERS], POSITIVE),
    *wrong("openers", [0, -1, *NO_NUMBERS], POSITIVE),
    *wrong("max_size", [10**30], AT_MOST),
    *wrong("max_queries", [sys.maxsize + 1], AT_MOST),
    *wrong("max_inactive_connection_lifetime", NO_SECONDS, SECONDS),
    *wrong("idle_timeout", NO_SECONDS, SECONDS),
    *wrong("max_lifetime", NO_SECONDS, SECONDS),
    *wrong("acquire_timeout", NO_SECONDS, SECONDS),
    *wrong("retry_connect", NO_SECONDS, SECONDS),
    *wrong("leak_threshold", NO_SECONDS, SECONDS),
    *wrong(
        "validate",
        [
            *("", "sometimes", "off:1", "always:1", "Idle:1", ":1", 30, None),
            *("idle", "idle:", "idle:soon", "idle:-1", "idle:nan"),
            *("background", "background:", "background:-1"),
        ],
        VALIDATE,
    ),
    *wrong("reset", ["", " ", "sometimes", "Auto"], RESET),
    *wrong("reset", [5, ["RESET ALL"], True], RESET, TypeError),
    *wrong("connect", ["x", 5], FUNCTION, TypeError),
    *wrong("setup", ["x", 5], FUNCTION, TypeError),
    *wrong("init", ["x", 5], FUNCTION, TypeError),
    *wrong(
        "budget", [5, {}], "is expected to be a chopin.Budget, got ", InterfaceError
    ),
    *wrong(
        "connection_class",
        ["x", int, None, hook],
        "is expected to be a subclass of chopin.Connection, got ",
        TypeError,
    ),
    *wrong(
        "record_class",
        ["x", int, None],
        "is expected to be a subclass of chopin.Record, got ",
        TypeError,
    ),
    *wrong(
        "pooler",
        ["session", "", True],
        'is expected to be "transaction" or None, got ',
        InterfaceError,
    ),
]


@pytest.mark.parametrize(("options", "error", "text"), WRONG)
def test_refused(options, error, text):
    """The message names the argument, says what it must be, and what it was."""
    [value] = options.values()
    with pytest.raises(error) as info:
        settings(**options)
    assert type(info.value) is error
    assert str(info.value) == f"{text}{value!r}"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"min_size": 3, "max_size": 2}, "min_size is greater than max_size: 3 > 2"),
        ({"min_size": 11}, "min_size is greater than max_size: 11 > 10"),
        (
            {"init_size": 3, "min_size": 0, "max_size": 2},
            "init_size is greater than max_size: 3 > 2",
        ),
        (
            {"init_size": 1, "min_size": 2},
            "init_size is smaller than min_size: 1 < 2",
        ),
        ({"init_size": 9}, "init_size is smaller than min_size: 9 < 10"),
    ],
)
def test_sizes_that_contradict_each_other(options, text):
    """The message has both."""
    with pytest.raises(ValueError) as info:
        settings(**options)
    assert str(info.value) == text


def test_maximum_that_is_no_number():
    """Also where the floor follows from it."""
    with pytest.raises(ValueError, match=f"^max_size {POSITIVE}'5'"):
        settings(max_size="5")


def test_record_class_with_a_constructor():
    """Rows are made by the driver alone."""
    with pytest.raises(TypeError, match="^record_class must not redefine __new__"):
        settings(record_class=MadeRow)


def test_option_of_connecting_that_is_wrong():
    """It is told when the pool is made, and not when it connects."""
    with pytest.raises(chopin.ClientConfigurationError, match="port"):
        settings(port="x")
    with pytest.raises(TypeError, match="min_sice"):
        settings(min_sice=1)


# As asyncpg has it

SAME_MESSAGES = [
    {"max_size": 0},
    {"max_size": -1},
    {"min_size": -1},
    {"min_size": 3, "max_size": 2},
    {"min_size": 0, "init_size": -1},
    {"min_size": 0, "init_size": 3, "max_size": 2},
    {"min_size": 2, "init_size": 1},
    {"max_queries": 0},
    {"max_queries": -5},
    {"max_inactive_connection_lifetime": -1},
    {"connection_class": int},
    {"record_class": int},
]


@pytest.mark.parametrize("options", SAME_MESSAGES, ids=str)
def test_messages_of_asyncpg(options):
    """Ours begins with its text, and is of the same class."""
    with pytest.raises(Exception) as theirs:
        asyncpg.create_pool(DSN, loop=object(), **options)
    with pytest.raises(type(theirs.value)) as ours:
        chopin.create_pool(DSN, **options)
    assert type(ours.value) is type(theirs.value)
    text = str(theirs.value).replace("asyncpg.", "chopin.")
    assert str(ours.value).startswith(text)


def test_arguments_of_asyncpg():
    """All are there, with the same defaults, but where None stands for them."""
    ours = inspect.signature(PoolSettings).parameters
    theirs = inspect.signature(asyncpg.create_pool).parameters
    for name, parameter in theirs.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        assert name in ours
        if name in ("connection_class", "record_class"):
            assert ours[name].default.__name__ == parameter.default.__name__
        elif name not in ("min_size", "max_size", "reset"):
            assert ours[name].default == parameter.default
    made = settings()
    assert made.limits.min_size == theirs["min_size"].default
    assert made.limits.max_size == theirs["max_size"].default


def test_arguments_are_documented():
    """Those that are read are those of `PoolOptions`, each of which is described."""
    keywords = {
        name
        for name, parameter in inspect.signature(PoolSettings).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    documented = set(typing.get_type_hints(PoolOptions)) - set(
        typing.get_type_hints(ConnectOptions)
    )
    assert documented == keywords
    lines = inspect.getdoc(PoolOptions).splitlines()
    assert keywords == {
        line.split(":")[0].strip()
        for line in lines[lines.index("Attributes:") + 1 :]
        if line.startswith("    ") and line[4] != " "
    }


# What they become


def test_defaults():
    """Those of the documentation."""
    made = settings()
    limits = made.limits
    got = {name: getattr(limits, name) for name in limits.__slots__}
    assert got == {
        "min_size": 10,
        "max_size": 10,
        "max_queries": 50000,
        "idle_timeout": 300.0,
        "max_lifetime": 1800.0,
        "check_after": 30.0,
        "depth": 16,
        "openers": 3,
        "retry_connect": 5.0,
    }
    assert made.init_size == 10
    assert (made.budget.max_size, made.per_loop) == (10, None)
    assert made.acquire_timeout == 30.0
    assert made.leak_threshold == made.check_interval == math.inf
    assert (made.connect, made.setup, made.init, made.reset_hook) == (None,) * 4
    assert (made.reset_policy, made.reset_sql) == ("auto", None)
    assert made.connection_class is chopin.Connection
    assert made.record_class is chopin.Record
    assert made.pooler is None
    assert made.is_plain and made.has_own_reset
    assert (made.dsn, made.options) == (DSN, {})
    assert (made.config.database, made.config.user) == ("app", "web")


@pytest.mark.parametrize(
    ("options", "init_size", "min_size", "max_size"),
    [
        ({"max_size": 3}, 3, 3, 3),
        ({"max_size": 30}, 10, 10, 30),
        ({"min_size": 0}, 0, 0, 10),
        ({"min_size": 0, "init_size": 4}, 4, 0, 10),
        ({"min_size": 2, "max_size": 5}, 2, 2, 5),
        ({"min_size": None, "max_size": None, "init_size": None}, 10, 10, 10),
    ],
)
def test_sizes(options, init_size, min_size, max_size):
    """What is not given follows from what is."""
    made = settings(**options)
    assert made.init_size == init_size
    assert made.limits.min_size == min_size
    assert made.limits.max_size == made.budget.max_size == max_size


@pytest.mark.parametrize(("per_loop", "of_loop"), [(None, 8), (3, 3), (8, 8), (20, 8)])
def test_per_loop(per_loop, of_loop):
    """One loop may have so many, and all of them the maximum."""
    made = settings(min_size=0, max_size=8, per_loop=per_loop)
    assert (made.limits.max_size, made.budget.max_size) == (of_loop, 8)
    made.resize(5, None)
    assert (made.limits.max_size, made.budget.max_size) == (min(of_loop, 5), 5)


LIMIT_NAMES = {"max_inactive_connection_lifetime": "idle_timeout"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_queries", 7, 7),
        ("max_queries", None, math.inf),
        ("max_inactive_connection_lifetime", 7, 7.0),
        ("max_inactive_connection_lifetime", 0, math.inf),
        ("max_inactive_connection_lifetime", None, math.inf),
        ("idle_timeout", 0.5, 0.5),
        ("idle_timeout", 0, math.inf),
        ("max_lifetime", 7, 7.0),
        ("max_lifetime", 0, math.inf),
        ("max_lifetime", None, math.inf),
        ("pipeline_depth", 1, 1),
        ("openers", 9, 9),
        ("retry_connect", 0, 0.0),
        ("retry_connect", 1.5, 1.5),
        ("retry_connect", None, math.inf),
    ],
)
def test_limit(name, value, expected):
    """What the decisions are made by."""
    limits = settings(**{name: value}).limits
    attribute = {"pipeline_depth": "depth"}.get(name, LIMIT_NAMES.get(name, name))
    assert getattr(limits, attribute) == expected


def test_two_names_of_the_idle_timeout():
    """The short one counts where both are given."""
    options = {"max_inactive_connection_lifetime": 7, "idle_timeout": 8}
    assert settings(**options).limits.idle_timeout == 8


@pytest.mark.parametrize("name", ["acquire_timeout", "leak_threshold"])
@pytest.mark.parametrize(
    ("value", "expected"), [(None, math.inf), (7, 7.0), (0.25, 0.25)]
)
def test_patience(name, value, expected):
    """None is for ever."""
    assert getattr(settings(**{name: value}), name) == expected


def test_no_patience():
    """Who may not wait at all is not made to wait for ever."""
    assert settings(acquire_timeout=0).acquire_timeout == 0


@pytest.mark.parametrize(
    ("word", "after", "interval"),
    [
        ("off", math.inf, math.inf),
        ("always", -1.0, math.inf),
        ("idle:30", 30.0, math.inf),
        ("idle:0.5", 0.5, math.inf),
        ("idle:0", 0.0, math.inf),
        ("background:5", math.inf, 5.0),
    ],
)
def test_validate(word, after, interval):
    """When a connection is asked ahead of its use, and how often while it is idle."""
    made = settings(validate=word)
    assert (made.limits.check_after, made.check_interval) == (after, interval)


@pytest.mark.parametrize(
    ("reset", "policy", "sql", "function"),
    [
        ("auto", "auto", None, None),
        ("always", "always", None, None),
        ("never", "never", None, None),
        (None, "auto", None, None),
        ("RESET ALL", "auto", "RESET ALL", None),
        ("VACUUM;", "auto", "VACUUM;", None),
        (hook, "never", None, hook),
    ],
)
def test_reset(reset, policy, sql, function):
    """A word, SQL that is sent instead of ours, or a function that does it all."""
    made = settings(reset=reset)
    got = (made.reset_policy, made.reset_sql, made.reset_hook)
    assert got == (policy, sql, function)
    assert made.has_own_reset is (sql is None)
    assert made.is_plain is (function is None)


@pytest.mark.parametrize("depth", [1, 16])
def test_nobody_shares_what_is_always_reset(depth):
    """Single queries have a connection to themselves."""
    assert settings(reset="always", pipeline_depth=depth).limits.depth == 1


@pytest.mark.parametrize("reset", ["auto", "always"])
async def test_reset_of_a_class(reset):
    """The method of the user's class is called, at each release."""
    made = settings(reset=reset, connection_class=ResetConnection)
    connection = ResetConnection()
    await run_hook("reset", made.reset_hook, connection)
    assert connection.calls == ["reset"]
    assert not made.is_plain


@pytest.mark.parametrize("reset", ["never", "RESET ALL"])
def test_reset_in_spite_of_a_class(reset):
    """Who says how it is done does not mean the method."""
    made = settings(reset=reset, connection_class=ResetConnection)
    assert made.reset_hook is None


def test_reset_of_a_class_by_default_of_asyncpg():
    """None is the default there, which calls the method."""
    made = settings(reset=None, connection_class=ResetConnection)
    assert made.reset_hook is not None


def test_reset_query_of_a_class():
    """SQL of the user's may fail, so nobody is put behind it."""
    made = settings(connection_class=TidyConnection)
    assert not made.has_own_reset
    assert made.is_plain
    assert made.reset_hook is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"connection_class": Connection}, True),
        ({"record_class": Row}, True),
        ({"init": hook}, True),
        ({"connect": hook}, True),
        ({"setup": hook}, False),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else None,
)
def test_plain(options, expected):
    """Whether single queries can do without a handle."""
    assert settings(**options).is_plain is expected


@pytest.mark.parametrize("name", ["fetch", "fetchrow", "fetchval", "execute"])
def test_not_plain_with_a_method_of_the_users(name):
    """The pool's queries go by it."""

    async def method(self, *args, **options):
        """The user's own."""

    kind = type("Own", (chopin.Connection,), {name: method})
    assert not settings(connection_class=kind).is_plain
    kind = type("Own", (chopin.Connection,), {f"{name}_twice": method})
    assert settings(connection_class=kind).is_plain


@pytest.mark.parametrize("name", ["fetch", "fetchrow", "fetchval", "execute"])
def test_not_plain_where_a_method_was_replaced(monkeypatch, name):
    """Tools that trace or test put their own into our class."""
    own = getattr(chopin.Connection, name)

    async def traced(self, *args, **options):
        return await own(self, *args, **options)

    monkeypatch.setattr(chopin.Connection, name, traced)
    assert not settings().is_plain
    monkeypatch.undo()
    assert settings().is_plain


def test_reset_query_that_was_replaced(monkeypatch):
    """It may fail, other than ours."""
    monkeypatch.setattr(chopin.Connection, "get_reset_query", lambda self: "SELECT 1")
    assert not settings().has_own_reset


def test_coroutine_functions():
    """Where asyncpg's pool has them, for mocks with a `spec` and for decorators."""
    # before Python 3.12 a function can tell asyncio alone; from 3.14 on, that warns
    module = inspect if sys.version_info >= (3, 12) else asyncio
    for name, method in vars(asyncpg.Pool).items():
        if not name.startswith("_") and inspect.iscoroutinefunction(method):
            own = getattr(chopin.Pool, name)
            assert module.iscoroutinefunction(own), name
            assert isinstance(getattr(create_autospec(chopin.Pool), name), AsyncMock)


def test_hooks():
    """They are taken as they are, whatever can be called."""

    class Callable:
        async def __call__(self, connection):
            """Do nothing."""

    for name in ("connect", "setup", "init"):
        function = Callable()
        assert getattr(settings(**{name: function}), name) is function


async def test_hook_is_run():
    """With the connection, and to its end."""
    seen = []

    async def note(connection):
        await asyncio.sleep(0)
        seen.append(connection)

    connection = object()
    assert await run_hook("init", note, connection) is None
    assert seen == [connection]


@pytest.mark.parametrize("value", [None, 5])
async def test_hook_that_is_no_coroutine_function(value):
    """It has run by then, but nothing can be awaited."""
    text = (
        "init is expected to be a coroutine function, but it returned "
        f"{type(value).__name__}"
    )
    with pytest.raises(InterfaceError, match=f"^{text}$"):
        await run_hook("init", lambda connection: value, object())


def test_pause_between_rounds():
    """As often as the shortest of its times asks for, and at least twice a minute."""
    long = {"max_inactive_connection_lifetime": 0, "max_lifetime": 0}
    assert settings(**long).pause == 30
    assert settings(**long | {"idle_timeout": 10}).pause == 5
    assert settings(**long | {"max_lifetime": 20}).pause == 1
    assert settings(**long, validate="background:8").pause == 4
    assert settings(**long, leak_threshold=3).pause == 1.5
    assert settings(**long, leak_threshold=0.0001).pause == 0.01


# Budgets


def test_budget_of_its_own():
    """Without one that is shared there is nothing above it."""
    made = settings(max_size=7)
    assert made.budget.max_size == 7
    assert made.budget._parent is None


def test_shared_budget():
    """A pool has a part of it, as large as its own maximum."""
    budget = Budget(40)
    made = settings(max_size=7, budget=budget)
    assert made.budget.max_size == 7
    assert made.budget._parent is budget


@pytest.mark.parametrize(
    ("limit", "options", "sizes"),
    [
        ((7,), {}, (7, 7, 7)),
        ((20,), {}, (10, 10, 20)),
        ((7, 3, 2), {}, (3, 2, 7)),
        (Limit(7, min_size=0), {}, (0, 0, 7)),
        ((7, 3, 2), {"max_size": 5}, (3, 2, 5)),
        ((7, 3, 2), {"min_size": 3}, (3, 3, 7)),
        ((7, 3, 2), {"init_size": 2}, (2, 2, 7)),
        ((7, 3, 2), {"init_size": 0, "min_size": 0, "max_size": 9}, (0, 0, 9)),
    ],
)
def test_limit_of_database_and_user(limit, options, sizes):
    """It says what the pool does not say itself; its maximum counts in any case."""
    budget = Budget(40, {("app", "web"): limit, ("all", "all"): (1, 0, 0)})
    made = settings(budget=budget, **options)
    limits = made.limits
    assert (made.init_size, limits.min_size, limits.max_size) == sizes
    assert made.budget.max_size == sizes[2]
    of_limit = budget.limit_for("app", "web")[1]
    assert made.budget._parent is of_limit
    assert of_limit.max_size == limit[0]
    other = PoolSettings("postgresql://cron@db.example/app", budget=budget)
    assert (other.limits.max_size, other.init_size) == (1, 0)


def test_limit_for_a_pool_that_connects_by_itself():
    """Its database and user are those of its arguments all the same."""
    budget = Budget(40, {("app", "web"): (7, 3, 2)})
    assert settings(budget=budget, connect=hook).limits.max_size == 7


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ((5, 1, 6), "min_size is greater than max_size: 6 > 5"),
        ((5, -1, 0), "init_size is expected to be greater or equal to zero, got -1"),
        ((5, 1, 2), "init_size is smaller than min_size: 1 < 2"),
    ],
)
def test_limit_that_contradicts_itself(limit, text):
    """It is told to the first pool that it is for."""
    with pytest.raises(ValueError) as info:
        settings(budget=Budget(40, {("app", "web"): limit}))
    assert str(info.value) == text


# Changes


def test_resize():
    """The floor stays unless it is said, or above the maximum."""
    made = settings(min_size=2, max_size=8)
    made.resize(1, None)
    assert (made.limits.min_size, made.limits.max_size) == (1, 1)
    made = settings(min_size=2, max_size=8)
    made.resize(6, None)
    assert (made.limits.min_size, made.limits.max_size) == (2, 6)
    made.resize(3, 0)
    assert (made.limits.min_size, made.limits.max_size) == (0, 3)
    assert made.budget.max_size == 3


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ((0, None), "max_size"),
        (("5", None), "max_size"),
        ((None, None), "max_size"),
        ((5, 6), "min_size"),
        ((5, -1), "min_size"),
        ((5, True), "min_size"),
        ((10**30, None), "max_size"),
    ],
)
def test_resize_is_refused(sizes, name):
    """And nothing is changed."""
    made = settings(min_size=2, max_size=8)
    with pytest.raises(ValueError, match=f"^{name} is"):
        made.resize(*sizes)
    assert (made.limits.min_size, made.limits.max_size) == (2, 8)
    assert made.budget.max_size == 8


def test_other_arguments_for_connecting():
    """From now on; a time-out goes with them."""
    made = settings(timeout=5)
    assert made.connect_timeout == 5
    made.set_connect_args("postgresql://cron@db.example/logs", {"timeout": 7})
    assert (made.config.database, made.config.user) == ("logs", "cron")
    assert made.connect_timeout == 7


def test_time_to_connect():
    """A minute, unless it is said; also for who connects by himself."""
    assert settings().connect_timeout == 60
    assert settings(connect=hook).connect_timeout == 60
    assert settings(connect=hook, timeout=5).connect_timeout == 5
    assert settings(connect=hook, timeout=None).connect_timeout is None


def test_options_that_are_not_ours():
    """Who connects by himself may be given anything."""
    made = settings(connect=hook, shard=7)
    assert made.options == {"shard": 7}
    made.set_connect_args("x:y", {"shard": 8})
    assert (made.dsn, made.options) == ("x:y", {"shard": 8})


def test_arguments_for_connecting_that_are_refused():
    """The old ones stay."""
    made = settings(timeout=5)
    with pytest.raises(chopin.ClientConfigurationError):
        made.set_connect_args(None, {"port": "x"})
    assert made.connect_timeout == 5
    assert made.config.database == "app"
