"""Trying again: which errors, how often, how long in between, and never twice."""

import asyncio
import dataclasses
import importlib
import inspect
import itertools
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chopin.exceptions import (
    ConnectionDoesNotExistError,
    DeadlockDetectedError,
    InterfaceError,
    PoolTimeoutError,
    PostgresError,
    SerializationError,
    TooManyConnectionsError,
    UniqueViolationError,
)
from chopin.retry import Retry, kind_of, outcome_of, retry

ROOT = Path(__file__).parents[2]


class Script:
    """A coroutine function whose calls end as told, one after the other."""

    def __init__(self, *ends):
        self.ends = iter(ends)
        self.calls = 0

    async def __call__(self):
        self.calls += 1
        end = next(self.ends)
        if isinstance(end, BaseException):
            raise end
        return end


class Clock:
    """Sleeps that take no time and are written down."""

    def __init__(self):
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)


def conflicts():
    """One conflict after the other, each an error of its own."""
    return (SerializationError(f"conflict {n}") for n in itertools.count(1))


def lost(outcome="unknown"):
    """A connection was lost, and this is known of the statement."""
    error = ConnectionDoesNotExistError("connection was closed")
    error.outcome = outcome
    return error


def notes(error):
    """What was noted on an error."""
    return getattr(error, "__notes__", [])


# -- the settings --------------------------------------------------------------


def test_defaults():
    """Three attempts, for what is transient or short of something, within a second."""
    policy = Retry()
    assert dataclasses.asdict(policy) == {
        "attempts": 3,
        "base": 0.01,
        "max": 1.0,
        "jitter": "full",
        "idempotent": False,
        "on": ("transient", "resource"),
    }
    assert policy == Retry() and hash(policy) == hash(Retry())
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert dataclasses.replace(policy, attempts=5).attempts == 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.attempts = 4


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"attempts": 0}, ValueError, "attempts must be at least 1, got 0"),
        ({"attempts": -1}, ValueError, "attempts must be at least 1, got -1"),
        ({"attempts": 2.0}, TypeError, "attempts must be an integer, got 2.0"),
        ({"attempts": True}, TypeError, "attempts must be an integer, got True"),
        ({"attempts": None}, TypeError, "attempts must be an integer, got None"),
        ({"base": -0.1}, ValueError, "base must be finite and not negative, got -0.1"),
        ({"base": math.nan}, ValueError, "base must be finite and not negative"),
        ({"max": math.inf}, ValueError, "max must be finite and not negative"),
        ({"base": "1"}, TypeError, "base must be a number of seconds, got '1'"),
        ({"max": True}, TypeError, "max must be a number of seconds, got True"),
        ({"max": None}, TypeError, "max must be a number of seconds, got None"),
        ({"base": 2}, ValueError, r"base \(2\) must not be more than max \(1.0\)"),
        ({"jitter": "half"}, ValueError, r"jitter must be one of .*, got 'half'"),
        ({"idempotent": 1}, TypeError, "idempotent must be a bool, got 1"),
        ({"on": 1}, TypeError, "on must be kinds, exception classes or a function"),
        ({"on": None}, TypeError, "on must be kinds, exception classes or a function"),
        ({"on": "transitory"}, ValueError, r"on must hold .*, got 'transitory'"),
        ({"on": ["pool", 1]}, ValueError, r"on must hold .*, got 1"),
        ({"on": int}, ValueError, r"on must hold .*, got <class 'int'>"),
        ({"on": ("transient", int)}, ValueError, r"on must hold .*<class 'int'>"),
    ],
)
def test_settings_that_cannot_be(options, error, text):
    """What is wrong is said when it is written, not at the first conflict."""
    with pytest.raises(error, match=text):
        Retry(**options)


@pytest.mark.parametrize(
    ("on", "kept"),
    [
        ("pool", ("pool",)),
        (OSError, (OSError,)),
        (["transient", OSError], ("transient", OSError)),
        ({"canceled"}, ("canceled",)),
        ((), ()),
        (callable, callable),
    ],
)
def test_one_or_several_or_a_function(on, kept):
    """`on` is kept in a form that can be compared and hashed."""
    policy = Retry(on=on)
    assert policy.on == kept
    assert hash(policy) == hash(Retry(on=kept))


def test_what_a_parameter_may_be():
    """None, a number of attempts, or all of it."""
    policy = Retry(attempts=7, base=0)
    assert Retry.of(policy) is policy
    assert Retry.of(None) == Retry()
    assert Retry.of(7) == Retry(attempts=7)
    for wrong in (0, "3", 1.5, True):
        with pytest.raises((TypeError, ValueError), match="attempts must be"):
            Retry.of(wrong)


# -- which errors --------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "is_worth"),
    [
        (SerializationError(), True),
        (DeadlockDetectedError(), True),
        (TooManyConnectionsError(), True),
        (ConnectionRefusedError(), True),
        (lost("not_sent"), True),
        (lost("rolled_back"), True),
        (lost("unknown"), False),
        (PostgresError.new({"S": "FATAL", "C": "57P01"}), False),
        (PostgresError.new({"S": "FATAL", "C": "57P03"}), True),
        (UniqueViolationError(), False),
        (InterfaceError("m"), False),
        (PoolTimeoutError("m"), False),
        (TimeoutError(), False),
        (ValueError(), False),
        (asyncio.CancelledError(), False),
        (KeyboardInterrupt(), False),
    ],
    ids=repr,
)
def test_which_errors_are_worth_it(error, is_worth):
    """Those that may not come again, of what has not taken effect."""
    assert Retry().is_worth(error) is is_worth


KINDS = ("transient", "resource", "canceled", "permanent", "client", "pool")


@given(
    kind=st.sampled_from(KINDS),
    outcome=st.sampled_from(("not_sent", "rolled_back", "unknown")),
    on=st.lists(st.sampled_from((*KINDS, ConnectionDoesNotExistError, OSError))),
    is_function=st.booleans(),
    idempotent=st.booleans(),
)
def test_unknown_outcomes_are_never_repeated(
    kind, outcome, on, is_function, idempotent
):
    """Whatever `on` says, in whatever form, unless it may be done twice."""
    error = lost(outcome)
    error.kind = kind
    is_wanted = kind in on or ConnectionDoesNotExistError in on
    given_on = (lambda error: is_wanted) if is_function else on
    got = Retry(on=given_on, idempotent=idempotent).is_worth(error)
    assert got is (is_wanted and (idempotent or outcome != "unknown"))


@pytest.mark.parametrize("end", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("on", [BaseException, "canceled", lambda error: True])
def test_what_is_no_exception_is_never_repeated(end, on):
    """Not even if somebody asks for it."""
    assert not Retry(on=on, idempotent=True).is_worth(end())


def test_a_class_takes_in_what_derives_from_it():
    """And it can name an error that is of no kind worth repeating."""
    policy = Retry(on=PostgresError)
    assert policy.is_worth(UniqueViolationError())
    assert not policy.is_worth(ConnectionRefusedError())


def test_a_function_is_given_the_error_and_asked_once():
    """Whatever it returns is taken for yes or no."""
    asked = []
    policy = Retry(on=lambda error: asked.append(error) or "yes")
    error = UniqueViolationError()
    assert policy.is_worth(error) is True
    assert asked == [error]
    assert Retry(on=lambda error: None).is_worth(error) is False


# -- how long ------------------------------------------------------------------


def test_delays_double_up_to_the_maximum():
    """One less than there are attempts."""
    policy = Retry(attempts=7, base=1, max=10, jitter="none")
    assert list(policy.delays()) == [1, 2, 4, 8, 10, 10]
    assert list(Retry(attempts=1).delays()) == []


def test_jitter_takes_a_part_of_the_delay():
    """All of it, none of it, or anything between: as the number comes."""
    policy = Retry(attempts=5, base=1, max=4)
    numbers = iter([0.0, 0.5, 0.25, 1.0])
    assert list(policy.delays(lambda: next(numbers))) == [0.0, 1.0, 1.0, 4.0]


@given(
    attempts=st.integers(1, 2000),
    limits=st.tuples(st.floats(0, 1e308), st.floats(0, 1e308)).map(sorted),
    number=st.floats(0, 1, exclude_max=True),
)
def test_delays_stay_within_their_bounds(attempts, limits, number):
    """However many, and however large: no overflow, none above its own bound."""
    policy = Retry(attempts=attempts, base=limits[0], max=limits[1])
    exact = dataclasses.replace(policy, jitter="none")
    got, bounds = list(policy.delays(lambda: number)), list(exact.delays())
    assert len(got) == len(bounds) == attempts - 1
    assert bounds == sorted(bounds)
    for delay, bound in zip(got, bounds, strict=True):
        assert 0 <= delay <= bound <= policy.max


def test_by_default_no_two_wait_alike():
    """The numbers are random if nobody says otherwise."""
    policy = Retry(attempts=50)
    assert list(policy.delays()) != list(policy.delays())


# -- trying --------------------------------------------------------------------


async def test_the_first_result_is_returned():
    """What works is neither repeated nor waited for."""
    clock, script = Clock(), Script("done")
    assert await Retry().run(script, sleep=clock.sleep) == "done"
    assert (script.calls, clock.slept) == (1, [])


async def test_it_waits_and_tries_again():
    """Each attempt is a new call, after the delay that was computed."""
    clock = Clock()
    script = Script(SerializationError(), TooManyConnectionsError(), "done")
    policy = Retry(base=1, max=4)
    got = await policy.run(script, sleep=clock.sleep, random=lambda: 0.5)
    assert (got, script.calls, clock.slept) == ("done", 3, [0.5, 1.0])


async def test_the_last_error_is_raised_with_a_note():
    """It is the last one itself, and says how many attempts there were."""
    clock, script = Clock(), Script(*itertools.islice(conflicts(), 4))
    with pytest.raises(SerializationError, match="conflict 3") as caught:
        await Retry().run(script, sleep=clock.sleep)
    assert (script.calls, len(clock.slept)) == (3, 2)
    assert notes(caught.value) == ["3 attempts were made, of 3 allowed"]
    assert caught.value.__context__ is None


async def test_an_error_that_is_not_worth_it_is_raised_at_once():
    """The first time without a note: nobody has tried anything else."""
    clock, script = Clock(), Script(UniqueViolationError("mine"), "done")
    with pytest.raises(UniqueViolationError) as caught:
        await Retry().run(script, sleep=clock.sleep)
    assert (script.calls, clock.slept, notes(caught.value)) == (1, [], [])


async def test_an_error_that_is_not_worth_it_ends_the_attempts():
    """Later it says that something else went before it."""
    clock, script = Clock(), Script(SerializationError(), UniqueViolationError(), 1)
    with pytest.raises(UniqueViolationError) as caught:
        await Retry().run(script, sleep=clock.sleep)
    assert script.calls == 2
    assert notes(caught.value) == ["2 attempts were made, of 3 allowed"]


async def test_what_may_have_taken_effect_is_raised_and_told():
    """The error would have been worth it, so it says why there was no more."""
    clock, script = Clock(), Script(lost(), "done")
    with pytest.raises(ConnectionDoesNotExistError) as caught:
        await Retry().run(script, sleep=clock.sleep)
    assert (script.calls, clock.slept) == (1, [])
    (note,) = notes(caught.value)
    assert "may have taken effect" in note and "idempotent" in note


async def test_what_may_be_done_twice_is_repeated():
    """With `idempotent`, an unknown outcome is as good as another."""
    clock, script = Clock(), Script(lost(), lost(), "done")
    policy = Retry(idempotent=True)
    assert await policy.run(script, sleep=clock.sleep) == "done"
    assert script.calls == 3


async def test_the_last_attempt_is_not_told_of_idempotence():
    """It would not have helped: there are no attempts left."""
    script = Script(SerializationError(), lost())
    with pytest.raises(ConnectionDoesNotExistError) as caught:
        await Retry(attempts=2).run(script, sleep=Clock().sleep)
    assert notes(caught.value) == ["2 attempts were made, of 2 allowed"]


async def test_a_single_attempt_is_no_retry():
    """attempts=1 switches it off."""
    script = Script(SerializationError(), "done")
    with pytest.raises(SerializationError) as caught:
        await Retry(attempts=1).run(script, sleep=Clock().sleep)
    assert (script.calls, notes(caught.value)) == (1, [])


async def test_attempts_that_fail_before_they_begin_count():
    """A function that raises instead of returning an awaitable."""
    calls = []

    def attempt():
        calls.append(1)
        raise SerializationError

    with pytest.raises(SerializationError):
        await Retry().run(attempt, sleep=Clock().sleep)
    assert len(calls) == 3


# -- cancellation --------------------------------------------------------------


@pytest.mark.parametrize("end", [asyncio.CancelledError, KeyboardInterrupt])
async def test_an_attempt_that_is_cancelled_is_the_last(end):
    """Nothing is waited for, and nothing is put in place of it or added to it."""
    clock, script = Clock(), Script(SerializationError(), end(), "done")
    policy = Retry(on=BaseException, idempotent=True)
    with pytest.raises(end) as caught:
        await policy.run(script, sleep=clock.sleep)
    assert (script.calls, len(clock.slept), notes(caught.value)) == (2, 1, [])


async def test_a_task_that_waits_can_be_cancelled():
    """No attempt comes after it; the last error is shown with it."""
    waiting, script = asyncio.Event(), Script(SerializationError(), "done")

    async def sleep(seconds):
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(Retry().run(script, sleep=sleep))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert script.calls == 1
    assert isinstance(caught.value.__context__, SerializationError)


async def test_a_limit_of_time_around_it_is_obeyed():
    """The sleep of asyncio is what it waits by, so that nobody waits it out."""
    script = Script(*itertools.islice(conflicts(), 2), "done")
    policy = Retry(base=3600, max=3600, jitter="none")
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0) as limit:
            await policy.run(script)
    assert limit.expired()
    assert script.calls == 1
    assert isinstance(caught.value.__cause__.__context__, SerializationError)


# -- call and decorator --------------------------------------------------------


class Seats:
    """Something with a coroutine method that fails at first."""

    def __init__(self):
        self.calls = []

    @retry(attempts=2, base=0)
    async def reserve(self, seat, /, *, fn="fn"):
        """Reserve a seat."""
        self.calls.append((seat, fn))
        if len(self.calls) == 1:
            raise SerializationError
        return seat


async def test_call_passes_the_arguments_on():
    """Any of them, whatever they are called, each time again."""
    seats = Seats()
    bare = Seats.reserve.__wrapped__
    assert await Retry(base=0).call(bare, seats, 7, fn="x") == 7
    assert seats.calls == [(7, "x"), (7, "x")]


async def test_a_decorated_function_tries_again():
    """And is otherwise what it was."""
    seats = Seats()
    assert await seats.reserve(7) == 7
    assert seats.calls == [(7, "fn"), (7, "fn")]
    assert Seats.reserve.__doc__ == "Reserve a seat."
    assert Seats.reserve.__name__ == "reserve"
    assert str(inspect.signature(Seats.reserve)) == "(self, seat, /, *, fn='fn')"
    assert inspect.iscoroutinefunction(Seats.reserve)


async def test_calls_of_a_decorated_function_know_nothing_of_each_other():
    """Each has its own attempts."""
    errors = conflicts()
    ends = {"a": Script(next(errors), "a"), "b": Script(*itertools.islice(errors, 3))}

    @Retry(attempts=2, base=0)
    async def run(name):
        return await ends[name]()

    got = await asyncio.gather(run("a"), run("b"), return_exceptions=True)
    assert (got[0], str(got[1])) == ("a", "conflict 3")
    assert [script.calls for script in ends.values()] == [2, 2]


@pytest.mark.parametrize(
    "fn", [len, lambda: None, Script("x"), None], ids=lambda fn: type(fn).__name__
)
def test_only_coroutine_functions_are_decorated(fn):
    """A plain function would be found out at the first call, or never."""
    with pytest.raises(TypeError, match="coroutine functions, got"):
        retry()(fn)


def test_the_decorator_without_parentheses_is_refused():
    """The function would be taken for the number of attempts."""

    async def fn():
        """Never called."""

    with pytest.raises(TypeError, match="attempts must be an integer, got <function"):
        retry(fn)


# -- names ---------------------------------------------------------------------


def test_both_names_are_one_class():
    """One reads well as a decorator, the other as a setting."""
    assert retry is Retry


def test_the_name_of_the_module_is_that_of_the_decorator():
    """Importing the module, before or after, leaves the package's name alone."""
    chopin = importlib.import_module("chopin")
    module = importlib.import_module("chopin.retry")
    assert module is sys.modules["chopin.retry"]
    assert module.kind_of is kind_of and module.outcome_of is outcome_of
    assert chopin.retry is chopin.Retry is module.Retry
    program = "import chopin.retry; chopin.retry(attempts=2)(chopin.Connection.fetch)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


PROGRAM = """\
from chopin.retry import Retry, retry

@retry(attempts=5)
async def reserve(seat: int, *, name: str = "") -> float:
    return 1.0

@Retry(on={"pool", OSError})
async def nothing() -> None: ...

async def main() -> None:
    reveal_type(reserve)
    reveal_type(await reserve(1, name="x"))
    reveal_type(await Retry().call(reserve, 1, name="x"))
    reveal_type(await Retry(on="pool").run(lambda: reserve(1)))
    reveal_type(nothing)
    await reserve("1")
    await Retry().call(reserve, name=1)
    Retry(on=("transitory",))
"""
REVEALED = [
    "def (seat: int, *, name: str =) -> typing.Coroutine[Any, Any, float]",
    "float",
    "float",
    "float",
    "def () -> typing.Coroutine[Any, Any, None]",
]
ERRORS = ["arg-type", "call-arg", "arg-type", "arg-type"]


@pytest.mark.slow
def test_types_survive_the_decorator(tmp_path):
    """A type checker sees the function's own parameters and result."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    options = ["--strict", "--no-error-summary", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(program)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    revealed = [line.split('"')[1] for line in lines if "Revealed type" in line]
    assert revealed == REVEALED, done.stdout
    errors = [
        line.rpartition("[")[2].rstrip("]") for line in lines if ": error" in line
    ]
    assert errors == ERRORS, done.stdout
