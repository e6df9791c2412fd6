"""One event loop per core: all of its decisions, in a simulated time."""

import asyncio
import logging
import math
import os
import random
import signal
import sys
import threading
from functools import partial

import pytest

from chopin import _crews, runtime
from chopin._workers import End, Outcome, Restarts, Supervisor, Switch, run_job
from chopin.runtime import Worker, WorkerError, run

FOREVER = math.inf
DONE = Outcome(End.DONE)
STOPPED = Outcome(End.STOPPED)
CRASH = Outcome(End.DIED, "exit code 7")
BUG = Outcome(End.FAILED, "ValueError: x", "Traceback ...\nValueError: x\n")
UNABLE = Outcome(End.UNABLE, "exit code 1")

has_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="the system has no affinity"
)


# What a worker knows


@pytest.mark.parametrize(
    ("total", "count", "want"),
    [
        (10, 1, [10]),
        (10, 2, [5, 5]),
        (10, 3, [4, 3, 3]),
        (11, 3, [4, 4, 3]),
        (3, 3, [1, 1, 1]),
    ],
)
def test_share(total, count, want):
    """Together they have the total; the first ones have what does not divide."""
    assert [Worker(index, count).share(total) for index in range(count)] == want


def test_share_is_never_nothing():
    """A total that is too small for all is an error for each."""
    for index in range(3):
        with pytest.raises(ValueError, match="2 cannot be shared by 3 workers"):
            Worker(index, 3).share(2)


@has_affinity
@pytest.mark.parametrize(
    ("usable", "count", "want"),
    [
        ([0, 1, 2, 3], 4, [0, 1, 2, 3]),
        ([0, 1, 2, 3], 2, [0, 1]),
        ([2, 5], 2, [2, 5]),
        ([2, 5], 5, [2, 5, 2, 5, 2]),
        ([2, 5], 1, [None]),
        ([0], 1, [None]),
    ],
)
def test_assigns_cpus(usable, count, want):
    """Only cores that may be used; a single worker is free to move."""
    assert runtime.assign_cpus(usable, count) == want


def test_nobody_is_pinned_where_that_cannot_be(monkeypatch):
    """Without affinity the number of cores is all that is known."""
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert runtime.usable_cpus() == [0, 1, 2]
    assert runtime.assign_cpus([0, 1, 2], 3) == [None, None, None]


@has_affinity
def test_core_that_is_gone(caplog):
    """A worker that cannot be pinned works, and says so."""
    before = os.sched_getaffinity(0)
    assert runtime._pin(1 << 12) is None
    assert os.sched_getaffinity(0) == before
    assert "not pinned to core 4096" in caplog.text


def test_loop_factory(monkeypatch):
    """uvloop is taken when it is there, unless it is not wanted."""
    uvloop = pytest.importorskip("uvloop")
    assert runtime.loop_factory(None) is uvloop.new_event_loop
    assert runtime.loop_factory(True) is uvloop.new_event_loop
    assert runtime.loop_factory(False) is asyncio.SelectorEventLoop
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert runtime.loop_factory(None) is asyncio.SelectorEventLoop
    with pytest.raises(ModuleNotFoundError):
        runtime.loop_factory(True)


# What main may be


async def no_argument():
    return None


async def one_argument(worker):
    return None


async def two_arguments(worker, dsn):
    return None


async def with_defaults(dsn="", *args, **options):
    return None


async def keyword_needed(*, dsn):
    return None


@pytest.mark.parametrize(
    ("main", "want"),
    [
        (no_argument, False),
        (with_defaults, False),
        (one_argument, True),
        (partial(two_arguments, dsn=""), True),
        (partial(two_arguments, None, ""), False),
    ],
)
def test_main_that_takes_the_worker(main, want):
    """It is given to who requires an argument."""
    assert runtime._takes_worker(main) is want


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (two_arguments, r"no argument or the worker, it takes \(worker, dsn\)"),
        (keyword_needed, "no argument or the worker"),
        (None, "expected to be a coroutine function, got None"),
    ],
)
def test_main_that_cannot_be_called(main, message):
    """That is said before anything is started."""
    with pytest.raises(TypeError, match=message):
        run(main)


def test_main_that_was_called():
    """A coroutine is no function; it does not complain of being dropped."""
    with pytest.raises(TypeError, match=r"pass the function itself, run\(main\)"):
        run(no_argument())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is expected to be 1 or more, got 0"),
        ({"grace": -1}, "grace is expected to be 0 to 86400 seconds, got -1"),
        ({"grace": math.inf}, "got inf"),
        ({"grace": math.nan}, "got nan"),
    ],
)
def test_wrong_options(options, message):
    """Numbers that make no sense are refused."""
    with pytest.raises(ValueError, match=message):
        run(no_argument, **options)


def test_only_in_main_thread():
    """Elsewhere signals cannot be handled."""
    errors = []

    def call():
        try:
            run(no_argument, workers=1)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert errors == [
        "run() was not called in the main thread: only there can signals be handled"
    ]


async def test_not_in_a_loop():
    """As `asyncio.run`, it wants to make the loop."""
    with pytest.raises(RuntimeError, match="from a running event loop"):
        run(no_argument, workers=1)


# How a job ends


def raising(error):
    """A job that raises."""

    def job(index, restarts, switch):
        raise error

    return job


@pytest.mark.parametrize(
    ("error", "is_off", "want"),
    [
        (asyncio.CancelledError(), True, "stopped"),
        (asyncio.CancelledError(), False, "failed: CancelledError: "),
        (ValueError("x\ny"), True, "failed: ValueError: x"),
        (ValueError("x" * 500), False, f"failed: ValueError: {'x' * 188}"),
        (KeyboardInterrupt(), False, "failed: KeyboardInterrupt: "),
        (SystemExit(), False, "is done"),
        (SystemExit(0), False, "is done"),
        (SystemExit(3), False, "died: exit code 3"),
        (SystemExit("no"), False, "died: exit code no"),
    ],
)
def test_outcome_of_what_is_raised(error, is_off, want):
    """Whatever is raised is told, in one line and with its traceback."""
    switch = Switch()
    if is_off:
        switch.turn_off()
    outcome = run_job(raising(error), 0, 0, switch)
    assert str(outcome) == want
    assert ("Traceback" in outcome.trace) is (outcome.end is End.FAILED)


def test_exception_that_cannot_be_told():
    """One whose text fails is reported all the same."""

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    outcome = run_job(raising(Mute()), 0, 0, Switch())
    assert outcome.end is End.FAILED
    assert outcome.detail.startswith("Mute: ")


def test_one_that_was_told_to_stop_is_not_done():
    """Also if it takes the cancellation for the reason to return."""
    assert run_job(lambda *_: None, 0, 0, Switch()) == DONE
    assert (
        run_job(lambda index, n, switch: switch.turn_off(), 0, 0, Switch()) == STOPPED
    )


def test_switch_cancels_once():
    """However often it is turned, clean-up is not cancelled."""
    switch = Switch()
    seen = []

    async def main():
        switch.connect()
        try:
            switch.turn_off()
            switch.turn_off()
            await asyncio.sleep(10)
        finally:
            switch.turn_off()
            await asyncio.sleep(0)
            seen.append(asyncio.current_task().cancelling())

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    switch.turn_off()
    assert seen == [1]


def test_switch_that_is_off_before():
    """Then `main` is not begun."""
    switch = Switch()
    switch.turn_off()

    async def main():
        switch.connect()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_switch_turned_while_it_is_connected(monkeypatch):
    """By a signal handler, which may come in the middle: `main` is not begun."""
    switch = Switch()
    real = asyncio.current_task

    def current_task():
        switch.turn_off()
        return real()

    async def main():
        monkeypatch.setattr(asyncio, "current_task", current_task)
        switch.connect()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_switch_after_the_end():
    """Nothing is there to be cancelled."""
    switch = Switch()

    async def main():
        switch.connect()

    asyncio.run(main())
    switch.turn_off()
    assert switch.is_off


# When they are started, stopped and given up


class Stage:
    """Crew, signals and clock of a supervisor, played to a script; no time passes.

    Args:
        lives: for each worker how long each of its lives lasts and how it ends, or an
            OSError that its start raises; after the last one it lives on.
        signals: when which signal comes.
        stubborn: workers that do not stop.
    """

    def __init__(self, lives, signals=(), stubborn=()):
        self.now = 0.0
        self.count = len(lives)
        self.starts = []
        self.calls = []
        self._lives = [list(each) for each in lives]
        self._stubborn = stubborn
        self._signals = sorted(signals)
        self._running = {}
        self._turns_at_once = 0

    def run(self, grace=30.0, restarts=Restarts()):  # noqa: B008
        supervisor = Supervisor(
            self, self.count, self, grace, restarts, lambda: self.now
        )
        try:
            return supervisor.run()
        finally:
            assert self.calls[-1] == "close"

    def starts_of(self, index):
        """When it was started."""
        return [round(when, 6) for when, who, _ in self.starts if who == index]

    # -- the crew

    def start(self, index, restarts):
        assert index not in self._running
        assert "stop" not in self.calls
        self.starts.append((self.now, index, restarts))
        life = self._lives[index].pop(0) if self._lives[index] else (FOREVER, DONE)
        if isinstance(life, OSError):
            raise life
        self._running[index] = (self.now + life[0], life[1])
        return f"actor {index}"

    def ended(self):
        gone = [
            (index, outcome)
            for index, (when, outcome) in self._running.items()
            if when <= self.now
        ]
        for index, _ in gone:
            del self._running[index]
        return gone

    def stop(self):
        self.calls.append("stop")
        for index, (when, _) in self._running.items():
            if index not in self._stubborn and when > self.now:
                self._running[index] = (self.now, STOPPED)

    def kill(self, number):
        self.calls.append(f"kill {number} at {self.now:g}")
        self._running = dict.fromkeys(self._running, (self.now + 0.5, CRASH))

    def close(self):
        self.calls.append("close")

    # -- the signals

    def wait(self, timeout):
        ends = [when for when, _ in self._running.values()]
        signals = [when for when, _ in self._signals]
        then = min(
            ends + signals + [self.now + (FOREVER if timeout is None else timeout)]
        )
        assert then < FOREVER, "it waits for ever"
        self._turns_at_once = self._turns_at_once + 1 if then <= self.now else 0
        assert self._turns_at_once < 20, "it does not wait"
        self.now = max(self.now, then)
        due = [number for when, number in self._signals if when <= self.now]
        self._signals = [each for each in self._signals if each[0] > self.now]
        return due


def test_runs_until_all_are_done():
    """None is started again that has ended by itself."""
    stage = Stage([[(1, DONE)], [(2, DONE)]])
    assert stage.run() is None
    assert stage.starts == [(0, 0, 0), (0, 1, 0)]
    assert stage.calls == ["close"]


@pytest.mark.parametrize("outcome", [CRASH, BUG, STOPPED], ids=lambda o: o.end.name)
def test_starts_again_after_growing_pauses(outcome):
    """From 0.1 s to 10 s, as long as another worker lives."""
    stage = Stage([[(0, outcome)] * 9 + [(0, DONE)], [(100, DONE)]])
    assert stage.run() is None
    want = [0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7, 22.7, 32.7]
    assert stage.starts_of(0) == want
    assert [n for _, index, n in stage.starts if index == 0] == list(range(10))
    assert stage.starts_of(1) == [0]


def test_pause_does_not_overflow():
    """The longest pause is the longest, after whatever number of failures."""
    assert Restarts().pause(100_000) == 10.0


def test_life_ends_the_row_of_failures():
    """Who has worked for a while is started again soon."""
    stage = Stage(
        [[(0, CRASH), (0, CRASH), (10, CRASH), (0, CRASH), (1, DONE)], [(60, DONE)]]
    )
    stage.run()
    assert stage.starts_of(0) == [0, 0.1, 0.3, 10.4, 10.6]


def test_gives_up_when_all_fail_at_once():
    """Each has had its attempts: the error says how the last one ended."""
    stage = Stage([[(0, CRASH)] * 9, [(0.01, BUG)] * 9])
    with pytest.raises(WorkerError) as caught:
        stage.run()
    assert str(caught.value) == (
        "no worker stays alive; the last, worker 1 (actor 1), failed: ValueError: x"
    )
    assert caught.value.__notes__ == [BUG.trace]
    assert [len(stage.starts_of(index)) for index in (0, 1)] == [5, 5]


def test_does_not_give_up_while_one_lives():
    """A worker that fails again and again leaves the others alone."""
    stage = Stage([[(0, CRASH)] * 40, []], signals=[(200, signal.SIGTERM)])
    assert stage.run() == signal.SIGTERM
    assert len(stage.starts_of(0)) > 20


def test_does_not_give_up_on_one_that_has_lived():
    """A crash after a long life is not counted together with those at the start."""
    stage = Stage(
        [[(0, CRASH)] * 20 + [(0, DONE)], [(20, CRASH), (0, CRASH), (999, DONE)]]
    )
    assert stage.run() is None


def test_does_not_give_up_on_one_that_lives_at_last():
    """What was before its long life is forgotten, although it has not ended."""
    stage = Stage(
        [
            [(0, CRASH)] * 6 + [(999, DONE)],
            [(30, CRASH)] + [(0, CRASH)] * 9 + [(1, DONE)],
        ]
    )
    assert stage.run() is None


def test_starts_nobody_once_it_has_given_up():
    """Not even one whose turn has come."""
    stage = Stage([[(0, CRASH), OSError("none")], [(0, UNABLE), (9, DONE)]])
    with pytest.raises(WorkerError, match="not started.*none"):
        stage.run(restarts=Restarts(longest=0.1, attempts=2))


def test_gives_up_on_the_rest():
    """Those that are done do not keep alive one that cannot live."""
    stage = Stage([[(0, DONE)], [(0, BUG)] * 9])
    with pytest.raises(WorkerError):
        stage.run()
    assert len(stage.starts_of(1)) == 5


def test_gives_up_at_once_if_none_can_begin():
    """A script that cannot be imported fails the second time too."""
    stage = Stage([[(0, UNABLE)] * 9, [(0, UNABLE)] * 9])
    with pytest.raises(WorkerError, match="could not begin: exit code 1"):
        stage.run()
    assert len(stage.starts) == 2


def test_stops_the_young_when_it_gives_up():
    """What was started for another attempt ends in order."""
    stage = Stage([[(0, CRASH)] * 5 + [(9, CRASH)], [(0.5, CRASH)] * 9])
    with pytest.raises(WorkerError, match="worker 1"):
        stage.run()
    assert stage.calls == ["stop", "close"]


def test_start_that_fails_is_an_attempt():
    """No process, file or memory to be had: perhaps there is in a moment."""
    error = BlockingIOError(11, "Resource temporarily unavailable")
    stage = Stage([[error, error, (1, DONE)], [(1, DONE)]])
    assert stage.run() is None
    assert stage.starts_of(0) == [0, 0.1, 0.3]
    stage = Stage([[error] * 5, [error] * 5])
    with pytest.raises(WorkerError, match="Resource temporarily unavailable"):
        stage.run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_on_signal(number):
    """Nobody is killed who stops, nobody is started who waits for it."""
    stage = Stage([[], [], [(4.95, CRASH)]], signals=[(5, number)])
    assert stage.run() == number
    assert stage.calls == ["stop", "close"]
    assert len(stage.starts) == 3


def test_other_signals_are_not_its_business():
    """The end of a child, and signals that the program handles itself."""
    stage = Stage([[(9, DONE)]], signals=[(1, signal.SIGCHLD), (2, 0), (3, 10)])
    assert stage.run() is None
    assert stage.now == 9


def test_kills_after_the_grace():
    """Those that do not stop in time are killed, with the others' work untouched."""
    stage = Stage([[], []], signals=[(5, signal.SIGTERM)], stubborn={1})
    assert stage.run(grace=3) == signal.SIGTERM
    assert stage.calls == ["stop", "kill 15 at 8", "close"]


def test_second_signal_kills():
    """Who asks twice does not want to wait."""
    signals = [(5, signal.SIGINT), (6, signal.SIGTERM), (7, signal.SIGTERM)]
    stage = Stage([[]], signals, stubborn={0})
    assert stage.run(grace=30) == signal.SIGINT
    assert stage.calls == ["stop", "kill 2 at 6", "close"]


def test_signal_that_was_passed_on_too():
    """A terminal and a wrapper around the program send one Ctrl-C twice."""
    signals = [(5, signal.SIGINT), (5, signal.SIGINT), (5.2, signal.SIGINT)]
    stage = Stage([[(5.5, DONE)]], signals, stubborn={0})
    assert stage.run() == signal.SIGINT
    assert stage.calls == ["stop", "close"]


def test_end_while_stopping(caplog):
    """One that fails at its clean-up is reported, and not started again."""
    caplog.set_level(logging.INFO, "chopin.runtime")
    stage = Stage([[(6, BUG)], []], [(5, signal.SIGTERM)], stubborn={0})
    assert stage.run() == signal.SIGTERM
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("INFO", "SIGTERM: workers are told to stop, within 30 s"),
        ("INFO", "worker 1 (actor 1) stopped"),
        ("ERROR", f"worker 0 (actor 0) failed: ValueError: x\n{BUG.trace}"),
    ]


def test_reports(caplog):
    """Every death is an error in the log, and says when it goes on."""
    stage = Stage([[(1, CRASH), (1, BUG), (1, DONE)], []], [(50, 15)], stubborn={1})
    stage.run(grace=2)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("ERROR", "worker 0 (actor 0) died: exit code 7; it starts again in 0.1 s"),
        (
            "ERROR",
            "worker 0 (actor 0) failed: ValueError: x; it starts again in 0.2 s\n"
            + BUG.trace,
        ),
        ("WARNING", "worker 1 (actor 1) is killed: not stopped within 2 s"),
    ]


def test_closes_its_crew_whatever_happens():
    """A handler of the program's own may raise in the middle."""
    stage = Stage([[], []])
    stage.wait = lambda timeout: raising(KeyError("mine"))(0, 0, None)
    with pytest.raises(KeyError):
        stage.run()
    assert stage.calls == ["close"]


@pytest.mark.parametrize("seed", range(40))
def test_any_course_comes_to_an_end(seed):
    """Random lives and signals: one at a time per worker, and never for ever."""
    rng = random.Random(seed)
    ends = [DONE, STOPPED, CRASH, BUG, UNABLE]
    lives = [
        [
            (rng.choice([0, 0.05, 1, 9, 30]), rng.choice(ends))
            for _ in range(rng.randrange(12))
        ]
        for _ in range(rng.randrange(1, 6))
    ]
    signals = [(rng.uniform(0, 60), rng.choice([2, 10, 15, 17])) for _ in range(5)]
    signals.append((200, 15))
    stage = Stage(lives, signals, {n for n in range(6) if rng.random() < 0.3})
    try:
        got = stage.run(grace=rng.choice([0, 5, 30]))
    except WorkerError:
        got = None
    assert got in (None, 2, 15)
    assert stage._running == {}
    assert stage.now <= 230


# What they are


@pytest.mark.parametrize(
    ("threads", "platform", "want"),
    [
        (1, "linux", "fork"),
        (2, "linux", "spawn"),
        (1, "freebsd14", "fork"),
        (1, "darwin", "spawn"),
    ],
)
def test_start_method(threads, platform, want):
    """Only what has a single thread is forked, and on macOS nothing."""
    assert _crews.start_method(threads, platform) == want


def test_counts_threads():
    """One more is counted, whoever has started it."""
    before = _crews.thread_count()
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    assert _crews.thread_count() == before + 1
    go.set()
    thread.join()


def test_names_of_signals():
    """Those without a name have a number."""
    assert _crews._name_of(9) == "SIGKILL"
    assert _crews._name_of(50) == "signal 50"


@pytest.mark.parametrize(
    ("times", "want"), [([0, 0, 0.2], []), ([0, 0.2, 0.25], [130]), ([0, 9], [130])]
)
def test_second_signal_for_the_only_worker(monkeypatch, times, want):
    """It ends the process, unless it is the first one that was passed on."""
    exits = []
    alone = _crews._Alone(1000)
    monkeypatch.setattr(_crews, "_exit_by", lambda number: exits.append(128 + number))
    try:
        for now in times:
            monkeypatch.setattr(_crews.time, "monotonic", lambda now=now: 1e6 + now)
            alone.on_signal(signal.SIGINT, None)
    finally:
        alone.give_alarm_back()
    assert exits == want
    assert alone.switch.is_off


def test_thread_that_has_started_all_the_same(monkeypatch):
    """A signal handler may raise while it starts: it is not forgotten."""
    ends = []

    async def main(switch):
        switch.connect()
        try:
            await asyncio.sleep(1000)
        finally:
            ends.append("in order")

    def start_and_fail(thread):
        start(thread)
        raise KeyError("of a handler")

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start_and_fail)
    with _crews.WakeUp() as signals:
        crew = _crews.Threads(
            lambda n, m, switch: asyncio.run(main(switch)), 60, signals
        )
        with pytest.raises(KeyError):
            crew.start(0, 0)
        crew.close()
    assert ends in (["in order"], [])  # the latter if it was stopped before it began
    assert not [each for each in threading.enumerate() if "chopin" in each.name]
