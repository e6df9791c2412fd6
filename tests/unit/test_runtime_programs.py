"""One event loop per core, in real programs: what they say, leave and end with."""

import contextlib
import os
import re
import signal
import sys
import textwrap

import pytest

from chopin import runtime
from tests.support.program import Program

pytestmark = pytest.mark.slow
has_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="the system has no affinity"
)

KINDS = {
    "fork": "_crews.start_method = lambda *_: 'fork'",
    "spawn": "_crews.start_method = lambda *_: 'spawn'",
    "threads": "runtime._has_gil = lambda: False",
}
PROGRAM = """\
import asyncio, logging, os, signal, sys, threading, time, types
from functools import partial

# of the package only what the runtime needs: the rest takes longer than most tests
package = types.ModuleType("chopin")
package.__path__ = [os.path.join(os.environ["PYTHONPATH"], "chopin")]
sys.modules["chopin"] = package

from chopin import _crews, _workers, runtime
from chopin._workers import Restarts
from chopin.runtime import Worker, run

# whatever this test was started by, to it SIGINT is Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def fail_on_signal(*_):
    raise KeyError("mine")

def restarts(**options):
    runtime.run_many = partial(runtime.run_many, restarts=Restarts(**options))

async def stay(worker):
    try:
        say("here", worker.index)
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0)
        say("cleaned", worker.index)

async def blocked(worker):
    say("here", worker.index)
    while True:
        time.sleep(0.01)

async def stay_for_ever(worker):
    while True:
        try:
            await stay(worker)
        except asyncio.CancelledError:
            pass

"""


@pytest.fixture
def start(tmp_path):
    """A factory of programs: start(code, kind) runs it after what all of them need.

    None of their processes is there any more when the test is over.
    """
    with contextlib.ExitStack() as programs:

        def start(code, kind=None, from_stdin=False):
            path, errors = tmp_path / "program.py", tmp_path / "errors"
            setup = f"{KINDS[kind]}\n" if kind else ""
            path.write_text(PROGRAM + setup + textwrap.dedent(code), "utf-8")
            if from_stdin:
                stdin = programs.enter_context(path.open())
                program = Program("-", errors=errors, stdin=stdin)
            else:
                program = Program(path, errors=errors)
            return programs.enter_context(program)

        yield start


every_kind = pytest.mark.parametrize("kind", KINDS)
forks_and_threads = pytest.mark.parametrize("kind", ["fork", "threads"])


@every_kind
def test_each_worker_has_its_own(start, kind):
    """A number, a core, a loop; together they are done when each is."""
    program = start(
        """
        async def main(worker):
            cpus = os.sched_getaffinity(0) if worker.cpu is not None else [None]
            own = threading.get_native_id()
            say(worker.index, worker.count, worker.restarts, [worker.cpu], [*cpus], own)

        if __name__ == "__main__":
            assert run(main, 3) is None
            say("at last")
        """,
        kind,
    )
    lines = [line.rsplit(" ", 1) for line in program.lines(3)]
    cpus = runtime.assign_cpus(runtime.usable_cpus(), 3)
    assert [told for told, _ in lines] == [
        f"{index} 3 0 [{cpu}] [{cpu}]" for index, cpu in enumerate(cpus)
    ]
    assert len({own for _, own in lines} | {str(program.pid)}) == 4
    assert program.end() == (0, ["at last"])


def test_whole_package(start):
    """Importing it starts no thread: a `main` that only a fork can have is run."""
    program = start(
        """
        for name in [name for name in sys.modules if name.startswith("chopin")]:
            del sys.modules[name]
        import chopin

        async def main(what, worker):
            say(what, worker.index)

        chopin.run(lambda worker: main("forked", worker), 2)
        """
    )
    assert program.end() == (0, ["forked 0", "forked 1"])


@has_affinity
def test_workers_may_move(start):
    """Without pinning they have the cores of the program."""
    program = start(
        """
        async def main(worker):
            say(worker.cpu, sorted(os.sched_getaffinity(0)))

        run(main, 2, pin=False)
        """
    )
    assert program.end() == (0, [f"None {runtime.usable_cpus()}"] * 2)


def test_loop_of_workers(start):
    """Everyone gets the loop that was asked for."""
    program = start(
        """
        async def main(worker):
            say(worker.count, type(asyncio.get_running_loop()).__module__)

        for workers in (1, 2):
            for uvloop in (True, False, None):
                run(main, workers, uvloop=uvloop)
        """
    )
    loops = ["asyncio.unix_events", "uvloop", "uvloop"]
    want = [f"{n} {loop}" for n in (1, 2, 2) for loop in loops]
    assert program.end() == (0, sorted(want))


DEATHS = {
    "os._exit(7)": "died: exit code 7",
    "os._exit(0)": "died: exit code 0",
    "os.kill(os.getpid(), signal.SIGKILL)": "died: killed by SIGKILL",
    "sys.exit(3)": "died: exit code 3",
    "fail(ValueError('first\\nsecond'))": "failed: ValueError: first",
    "fail(asyncio.CancelledError())": "failed: CancelledError: ",
    "fail(KeyboardInterrupt())": "failed: KeyboardInterrupt: ",
    "fail(ValueError('\\udc80' + 'x' * 10**6))": r"failed: ValueError: \udc80xxxxxx",
}


def test_worker_processes_that_die(start):
    """They are reported and started again, whatever they died of; another goes on."""
    program = start(
        f"""
        def fail(error):
            raise error

        _crews.TRACE_LIMIT = 10**7  # more than fits: nobody waits for room
        async def main(worker):
            say(worker.index, worker.restarts)
            if worker.index == {len(DEATHS)}:
                await asyncio.sleep(1000)
            elif worker.restarts < 2:
                eval({list(DEATHS)}[worker.index])

        restarts(first=0.001)
        run(main, {len(DEATHS) + 1})
        """,
        "fork",
    )
    want = [f"{index} {n}" for index in range(len(DEATHS)) for n in range(3)]
    assert program.lines(len(want) + 1) == [*want, f"{len(DEATHS)} 0"]
    program.signal(signal.SIGTERM)
    assert program.end() == (0, [])
    for index, report in enumerate(DEATHS.values()):
        lines = re.findall(rf"^ERROR worker {index} .*$", program.errors, re.M)
        assert len(lines) == 2
        for line, pause in zip(lines, ("0.001", "0.002"), strict=True):
            start = rf"ERROR worker {index} \(process \d+\) {re.escape(report)}"
            assert re.match(start, line)
            assert line.endswith(f"; it starts again in {pause} s")


@every_kind
def test_exception_is_reported_with_its_traceback(start, kind):
    """What the log says is what the worker has met."""
    program = start(
        """
        async def main(worker):
            if worker.restarts == 0:
                raise LookupError("nothing là-bas")

        restarts(first=0.001)
        if __name__ == "__main__":
            run(main, 2)
        """,
        kind,
    )
    assert program.end() == (0, [])
    assert program.errors.count("failed: LookupError: nothing là-bas; it starts") == 2
    assert program.errors.count("in main\n    raise LookupError(") == 2


@every_kind
def test_hopeless_case_ends(start, kind):
    """The error has the traceback of the last one."""
    program = start(
        """
        async def main(worker):
            raise LookupError("nothing there")

        restarts(first=0.001, attempts=2)
        if __name__ == "__main__":
            run(main, 2)
        """,
        kind,
    )
    assert program.end() == (1, [])
    assert program.errors.count("it starts again") >= 2
    error = program.errors.rpartition("chopin._workers.WorkerError: ")[2]
    assert error.startswith("no worker stays alive; the last, worker ")
    assert "failed: LookupError: nothing there\nTraceback" in error
    assert error.rstrip().endswith("LookupError: nothing there")


@pytest.mark.parametrize("kind", [*KINDS, "alone"])
def test_sigterm_stops_in_order(start, kind):
    """Each `main` is cancelled and cleans up; what follows on `run` is run."""
    workers = 1 if kind == "alone" else 2
    program = start(
        f"""
        if __name__ == "__main__":
            run(stay, {workers})
            say("end of the program")
        """,
        None if kind == "alone" else kind,
    )
    assert program.lines(workers) == [f"here {n}" for n in range(workers)]
    program.signal(signal.SIGTERM)
    cleaned = [f"cleaned {n}" for n in range(workers)]
    assert program.end() == (0, [*cleaned, "end of the program"])
    assert "ERROR" not in program.errors and "Traceback" not in program.errors


@pytest.mark.parametrize(
    ("kind", "uvloop"),
    [
        ("fork", True),
        ("fork", False),
        ("spawn", True),
        ("threads", True),
        ("alone", True),
        ("alone", False),
    ],
)
def test_ctrl_c_stops_in_order(start, kind, uvloop):
    """All processes get SIGINT; one of them raises KeyboardInterrupt, after the end."""
    workers = 1 if kind == "alone" else 2
    program = start(
        f"""
        if __name__ == "__main__":
            try:
                run(stay, {workers}, uvloop={uvloop})
            finally:
                say("end of the program")
        """,
        None if kind == "alone" else kind,
    )
    assert program.lines(workers) == [f"here {n}" for n in range(workers)]
    program.interrupt()
    cleaned = [f"cleaned {n}" for n in range(workers)]
    assert program.end() == (-signal.SIGINT, [*cleaned, "end of the program"])
    assert program.errors.count("Traceback") == 1
    assert program.errors.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize("reason", ["grace", "second signal"])
@pytest.mark.parametrize(
    ("kind", "mains", "status", "last"),
    [
        ("fork", ["stay_for_ever", "blocked"], 0, ["end of the program"]),
        ("threads", ["stay_for_ever", "blocked"], 128 + signal.SIGTERM, []),
        (None, ["stay_for_ever"], 128 + signal.SIGTERM, []),
        (None, ["blocked"], 128 + signal.SIGTERM, []),
    ],
)
def test_who_does_not_stop_is_killed(start, kind, mains, status, last, reason):
    """When its time is over, or who has started it will not wait; blocked or busy."""
    program = start(
        f"""
        async def main(worker):
            await [{", ".join(mains)}][worker.index](worker)

        _workers.SAME_SIGNAL_S = _crews.SAME_SIGNAL_S = 0
        # says nothing: each word would be answered by a signal, one within the other
        signal.signal(signal.SIGTERM, lambda *_: None)
        run(main, {len(mains)}, grace={0.001 if reason == "grace" else 1000})
        say("end of the program")
        os._exit(0)
        """,
        kind,
    )
    program.lines(len(mains))
    program.signal(signal.SIGTERM)
    if reason == "second signal":
        program.insist(signal.SIGTERM)
    got, lines = program.end()
    assert got == status
    assert [each for each in lines if each.startswith("end")] == last


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_sigterm_for_one_worker(start, kind):
    """It ends in order and another takes its place; nobody else is touched."""
    program = start(
        """
        async def main(worker):
            say(os.getpid(), worker.index, worker.restarts)
            await stay(worker)

        restarts(first=0.001)
        if __name__ == "__main__":
            run(main, 2)
        """,
        kind,
    )
    (pid,) = [line.split()[0] for line in program.lines(4) if line.endswith(" 1 0")]
    os.kill(int(pid), signal.SIGTERM)
    assert program.line() == "cleaned 1"
    assert program.line().endswith(" 1 1")
    assert program.line() == "here 1"
    program.signal(signal.SIGTERM)
    assert program.end() == (0, ["cleaned 0", "cleaned 1"])


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_workers_do_not_outlive_their_parent(start, kind):
    """However it dies, they clean up and end."""
    program = start(
        """
        if __name__ == "__main__":
            run(stay, 2)
        """,
        kind,
    )
    program.lines(2)
    program.signal(signal.SIGKILL)
    assert program.end() == (-signal.SIGKILL, ["cleaned 0", "cleaned 1"])


@pytest.mark.parametrize("main", ["stay_for_ever", "blocked"])
def test_nobody_is_left_who_does_not_stop(start, main):
    """A worker whose parent is dead kills itself when the grace is over."""
    program = start(
        f"""
        _crews.SELF_KILL_DELAY_S = 0
        run({main}, 2, grace=0.001)
        """,
        "fork",
    )
    program.lines(2)
    program.signal(signal.SIGKILL)
    status, _ = program.end()
    assert status == -signal.SIGKILL


@pytest.mark.parametrize(
    ("kind", "children"), [("fork", "none"), ("spawn", "a resource tracker")]
)
def test_parent_that_fails(start, kind, children):
    """An exception in the parent ends its workers: here it is a handler of its own."""
    program = start(
        """
        def children():
            try:
                zombie, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return "none"
            return "a zombie" if zombie else "a resource tracker"

        if __name__ == "__main__":
            signal.signal(signal.SIGUSR1, fail_on_signal)
            try:
                run(stay, 2)
            except KeyError:
                say("caught, children:", children())
        """,
        kind,
    )
    program.lines(2)
    program.signal(signal.SIGUSR1)
    assert program.end() == (0, [f"caught, children: {children}"])


def test_thread_workers_end_in_order_if_their_parent_fails(start):
    """They cannot be killed, but they can be asked, also one that is just started."""
    program = start(
        """
        signal.signal(signal.SIGUSR1, fail_on_signal)
        try:
            run(stay, 2)
        except KeyError:
            say("caught")
        """,
        "threads",
    )
    program.lines(2)
    program.signal(signal.SIGUSR1)
    assert program.end() == (0, ["caught", "cleaned 0", "cleaned 1"])


def test_one_worker_is_the_program(start):
    """Where a debugger looks for it; what it raises comes out, once and for all."""
    program = start(
        """
        async def main(worker):
            say(worker == Worker(0, 1), os.getpid(), threading.active_count())
            raise LookupError("nothing there")

        try:
            run(main, 1)
        except LookupError:
            say("caught")
        """
    )
    assert program.line() == f"True {program.pid} 1"
    assert program.end() == (0, ["caught"])
    assert program.errors == ""


@pytest.mark.parametrize("kind", ["fork", "threads", "alone"])
def test_leaves_signals_as_they_were(start, kind):
    """Handlers, mask, wake-up file, timer and open files are as before."""
    program = start(
        f"""
        def own(*_):
            pass

        async def main():
            pass

        async def be_stopped(worker):
            if worker.index == 0:
                os.kill(int(os.environ["PARENT"]), signal.SIGTERM)
            await asyncio.sleep(1000)

        def state():
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM)
            wakeup = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(wakeup)
            return (
                [signal.getsignal(number) for number in numbers],
                wakeup,
                signal.pthread_sigmask(signal.SIG_BLOCK, []),
                signal.getitimer(signal.ITIMER_REAL),
                len(os.listdir("/dev/fd")),
                threading.active_count(),
            )

        if __name__ == "__main__":
            os.environ["PARENT"] = str(os.getpid())
            workers = {1 if kind == "alone" else 2}
            run(main, workers)  # the first time leaves modules behind
            for handler in (signal.SIG_DFL, signal.SIG_IGN, own):
                signal.signal(signal.SIGALRM, handler)
                signal.signal(signal.SIGCHLD, handler)
                for each in (main, be_stopped):
                    before = state()
                    run(each, workers)
                    assert state() == before, (before, state())
            say("good")
        """,
        None if kind == "alone" else kind,
    )
    assert program.end() == (0, ["good"]), program.errors


def test_ignored_sigint_stays_ignored(start):
    """A shell has a program in the background ignore it."""
    program = start(
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        run(stay, 2)
        """
    )
    program.lines(2)
    program.interrupt()
    program.signal(signal.SIGTERM)
    assert program.end() == (0, ["cleaned 0", "cleaned 1"])
    assert "SIGINT" not in program.errors


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_programs_of_workers_are_not_immune(start, kind):
    """What a worker starts gets SIGINT as it comes, blocked or ignored by nobody."""
    program = start(
        """
        SAY = (
            "import os, signal; name = signal.getsignal(signal.SIGINT).__name__;"
            " mask = signal.pthread_sigmask(signal.SIG_BLOCK, []);"
            # in one piece: two of them write to one pipe
            " os.write(1, f'{name} {mask}\\\\n'.encode())"
        )

        async def main():
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", SAY)
            await process.wait()

        if __name__ == "__main__":
            run(main, 2)
        """,
        kind,
    )
    assert program.end() == (0, ["default_int_handler set()"] * 2)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_restarts_leave_nothing_open(start):
    """Neither the parent nor the workers that come later have more files."""
    program = start(
        """
        async def main(worker):
            if worker.index == 1 and worker.restarts in (1, 20):
                files = [f"/proc/{pid}/fd" for pid in (os.getpid(), os.getppid())]
                say(*[len(os.listdir(each)) for each in files])
            if worker.index == 1 and worker.restarts < 20:
                os._exit(1)
            await asyncio.sleep(1000)

        restarts(first=0.001, longest=0.001)
        run(main, 2)
        """,
        "fork",
    )
    assert program.line() == program.line()
    program.signal(signal.SIGTERM)
    assert program.end() == (0, [])


@forks_and_threads
def test_closure_as_main(start, kind):
    """Nothing has to be importable."""
    program = start(
        """
        def service(name):
            async def main(worker):
                say(name, worker.index)

            return main

        run(service("closure"), 2)
        """,
        kind,
    )
    assert program.end() == (0, ["closure 0", "closure 1"])


def test_script_from_standard_input(start):
    """A program without a file can be forked; a fresh interpreter has no way to it."""
    program = start(
        """
        async def main(worker):
            say(worker.index)

        run(main, 2)
        _crews.start_method = lambda *_: "spawn"
        try:
            run(main, 2)
        except TypeError as error:
            say(error)
        """,
        "fork",
        from_stdin=True,
    )
    status, lines = program.end()
    assert (status, lines[:2]) == (0, ["0", "1"])
    assert lines[2].startswith(
        "main cannot be imported by worker processes: __main__ is not a file;"
    )


@pytest.mark.parametrize(
    ("main", "message"),
    [
        ("lambda worker: stay(worker)", "[Cc]an't pickle"),
        ("partial(stay, threading.Lock())", "cannot pickle '_thread.lock' object"),
    ],
)
def test_main_that_cannot_be_imported(start, main, message):
    """Why is said at once, and what can be done."""
    program = start(
        f"""
        go = threading.Event()
        threading.Thread(target=go.wait, daemon=True).start()
        try:
            run({main}, 2)
        except TypeError as error:
            say(error)
        go.set()
        """
    )
    status, (line,) = program.end()
    assert status == 0
    assert re.match(f"main cannot be imported by worker processes: .*{message}", line)
    assert line.endswith(
        "; a process that has threads (there are 2), or runs on macOS, cannot be"
        " forked: let main be a function at the top level of a module, or call run()"
        " before threads are started"
    )


def test_script_without_guard(start):
    """A fresh interpreter imports the script: that it runs it again is said at once."""
    program = start("run(stay, 2)", "spawn")
    assert program.end() == (1, [])
    assert "put the call under `if __name__" in program.errors
    assert "WorkerError: no worker stays alive; the last, worker " in program.errors
    assert program.errors.rstrip().endswith("could not begin: exit code 1")
    assert program.errors.count("it starts again in") == 1  # in vain


def test_signal_to_a_fork_that_has_hardly_begun(start):
    """It is that child's, not one more of its parent's, whose files it still has."""
    program = start(
        """
        async def main(worker):
            say(worker.index, signal.set_wakeup_fd(-1))

        os.register_at_fork(
            after_in_child=lambda: os.kill(os.getpid(), signal.SIGINT)
        )
        run(main, 2, uvloop=False)
        """,
        "fork",
    )
    assert program.end() == (0, ["0 -1", "1 -1"])
    assert "SIGINT" not in program.errors


def test_ctrl_c_while_interpreters_start(start):
    """Workers that import the script do not die of it, they are told later."""
    program = start(
        """
        async def main(worker):
            say(worker.index)

        if __name__ == "__main__":
            run(main, 2)
        else:
            os.kill(os.getpid(), signal.SIGINT)
        """,
        "spawn",
    )
    assert program.end() == (0, ["0", "1"])
    assert "KeyboardInterrupt" not in program.errors


def test_log_handler_that_starts_a_thread(start):
    """A restart is a fork as before, and no warning is made of it."""
    program = start(
        """
        class Sender(logging.Handler):
            def emit(self, record):
                threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()

        async def main(worker):
            say(worker.index, worker.restarts)
            if worker.restarts < 2:
                os._exit(1)

        import warnings

        warnings.simplefilter("always")
        logging.getLogger().addHandler(Sender())
        restarts(first=0.001)
        run(main, 2)
        """
    )
    want = [f"{index} {n}" for index in range(2) for n in range(3)]
    assert program.end() == (0, want)
    assert "Warning" not in program.errors
