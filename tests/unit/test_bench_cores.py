"""Serial rows on one core: which they are, who is bound, and that nobody stays so."""

import itertools
import os
import threading
from pathlib import Path

import pytest

from bench import cores, measure
from bench.__main__ import connection_tables
from bench.candidates import Candidate
from bench.cores import bind, pin, placed
from bench.document import Document, Run
from bench.grouptables import table_of
from bench.measure import Outcome, Plan, Sample
from bench.pools import POOLS
from bench.readme import with_tables
from bench.registry import POOL_WORKLOADS, TYPE_WORKLOADS, WORKLOADS
from bench.report import as_json, placing, pools_tables
from bench.results import read_results, unpacked, write_results
from bench.server import Target
from bench.words import BenchError
from bench.workloads import Sizes, Workload

COMMITTED = sorted(Path(__file__).parents[2].glob("docs/bench-*.json"))
ALL = {0, 1, 3}
POSTMASTER = 77
PRIVATE = Target("postgresql://nowhere/x", private=True, postmaster=POSTMASTER)

SERIAL_GROUPS = {
    *("serial reads", "serial writes", "prepared joins", "columns", "statements"),
}
SERIAL_ROWS = {
    *("first_use", "first_use_plain", "script"),
    *("fetch_1", "fetch_10", "fetch_100"),
    *(f"insert_unbatched_{count}" for count in (1, 100, 1000, 10_000)),
    *("insert_batched_1", "insert_copy_1", "multi_pipelined_1", "updates_batched_1"),
    *("pool_reads_1", "pool_writes_1", "pool_mixed_1", "pool_slow_1", "curve_1"),
}


def test_serial_rows_are_those_in_which_client_and_server_take_turns():
    """Not one more: a pipelined row on one core would be slower than it is."""
    every = {**WORKLOADS, **POOL_WORKLOADS, **TYPE_WORKLOADS}
    expected = {
        name
        for name, one in every.items()
        if one.group in SERIAL_GROUPS or name in SERIAL_ROWS
    }
    assert {name for name, one in every.items() if one.is_serial} == expected
    assert expected >= SERIAL_ROWS


# -- binding ------------------------------------------------------------------------


class Machine:
    """Remembers which cores every thread and process has; may refuse one of them."""

    def __init__(self, monkeypatch, threads=("10", "11"), refused=None):
        self.threads = list(threads)
        self.refused = refused
        self.cores = {int(one): set(ALL) for one in (*threads, POSTMASTER)}
        monkeypatch.setattr(os, "listdir", lambda path: list(self.threads))
        monkeypatch.setattr(os, "sched_getaffinity", self.read, raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", self.write, raising=False)

    def read(self, pid):
        """The first thread is the one that asks."""
        return set(self.cores[pid or int(self.threads[0])])

    def write(self, pid, mask):
        """As the system: whoever is refused, or is gone, stays as it is."""
        if pid == self.refused:
            raise PermissionError(1, "Operation not permitted")
        if pid not in self.cores:
            raise ProcessLookupError(3, "No such process")
        self.cores[pid] = set(mask)


def test_a_serial_workload_has_one_core_and_all_are_free_behind_it(monkeypatch):
    """All threads, and the server, which hands it on to its processes."""
    machine = Machine(monkeypatch)
    with placed(POSTMASTER, is_serial=True) as count:
        assert count == 1
        assert machine.cores == {10: {3}, 11: {3}, POSTMASTER: {3}}
    assert machine.cores == {10: ALL, 11: ALL, POSTMASTER: ALL}


def test_other_workloads_have_all_cores(monkeypatch):
    """They have several things to do at a time."""
    machine = Machine(monkeypatch)
    with placed(POSTMASTER, is_serial=False) as count:
        assert count == len(ALL)
        assert machine.cores == {10: ALL, 11: ALL, POSTMASTER: ALL}


def test_with_a_server_of_the_users_own_nobody_is_bound(monkeypatch):
    """Nobody knows where it runs."""
    machine = Machine(monkeypatch)
    with placed(None, is_serial=True) as count:
        assert count == 0
        assert machine.cores[10] == ALL


def test_an_error_leaves_nobody_bound(monkeypatch):
    """Nor does it get lost."""
    machine = Machine(monkeypatch)
    with pytest.raises(KeyboardInterrupt), placed(POSTMASTER, is_serial=True):
        raise KeyboardInterrupt
    assert machine.cores == {10: ALL, 11: ALL, POSTMASTER: ALL}


@pytest.mark.parametrize("refused", [11, POSTMASTER])
def test_what_is_refused_binds_nobody(monkeypatch, refused):
    """One side alone on a core would be worse than none; the number says so."""
    machine = Machine(monkeypatch, refused=refused)
    with placed(POSTMASTER, is_serial=True) as count:
        assert count == len(ALL)
        assert machine.cores == {10: ALL, 11: ALL, POSTMASTER: ALL}


def test_a_server_that_has_died_keeps_no_thread_bound(monkeypatch):
    """Its process cannot be set free any more, but this one is."""
    machine = Machine(monkeypatch)
    with placed(POSTMASTER, is_serial=True):
        del machine.cores[POSTMASTER]
    assert machine.cores == {10: ALL, 11: ALL}


def test_a_system_without_affinity_binds_nobody(monkeypatch):
    """macOS has none."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(os, "listdir", lambda path: ["10"])
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    with placed(POSTMASTER, is_serial=True) as count:
        assert count == 8
    with pytest.raises(BenchError, match="--core 0 does not work here"):
        pin(0)


def test_threads_that_come_and_go_meanwhile_are_no_trouble(monkeypatch):
    """One that is gone is passed over; one that has just begun is bound as well."""
    machine = Machine(monkeypatch, threads=("10", "12"))
    del machine.cores[12]
    write = machine.write

    def begin(pid, mask):
        write(pid, mask)
        if "13" not in machine.threads:
            machine.threads.append("13")
            machine.cores[13] = set(ALL)

    monkeypatch.setattr(os, "sched_setaffinity", begin)
    assert bind(POSTMASTER, {1})
    assert machine.cores == {10: {1}, 13: {1}, POSTMASTER: {1}}


@pytest.mark.skipif(not os.path.isdir(cores.THREADS), reason="there is no /proc")
def test_a_thread_that_begins_within_is_free_in_the_end():
    """As those of a driver; here everything is the system's own."""
    before = os.sched_getaffinity(0)
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait)
    try:
        with placed(os.getpid(), is_serial=True) as count:
            thread.start()
            assert count == len(os.sched_getaffinity(thread.native_id)) == 1
        assert os.sched_getaffinity(thread.native_id) == before
        assert os.sched_getaffinity(0) == before
    finally:
        is_over.set()
        thread.join()


class FakeAdmin:
    """There is no server to administrate."""

    @classmethod
    async def open(cls, target):
        """Open it."""
        return cls()

    async def settings(self):
        """None."""
        return {}

    async def make_schemas(self, names, scale):
        """None to make."""

    async def close(self):
        """Nothing is open."""


async def test_a_contest_is_played_where_it_belongs(monkeypatch):
    """Connections, too, are opened there; the outcome says how many cores it had."""
    machine = Machine(monkeypatch)
    monkeypatch.setattr(measure, "Administration", FakeAdmin)
    seen = []

    class FakeContest:
        def __init__(self, workload, *_):
            self.name = workload.name

        async def play(self):
            seen.append(machine.cores[POSTMASTER])
            return Outcome(self.name, "fakes", "q/s", 1)

    workloads = [
        Workload(
            *(name, "fakes", "q/s", Sizes(1, 1, 1), itertools.count, None),
            is_serial=is_serial,
        )
        for name, is_serial in (("one", True), ("many", False))
    ]
    plan = Plan([], workloads, "quick", 1, 1)
    outcomes, _ = await measure.measure(plan, FakeContest, PRIVATE, lambda one: None)
    assert seen == [{3}, ALL]
    assert [one.cores for one in outcomes] == [1, 3]


async def test_drivers_see_all_cores_before_the_first_workload(monkeypatch):
    """How many threads they start follows from it; who fails does not matter yet."""
    machine = Machine(monkeypatch)
    monkeypatch.setattr(measure, "Administration", FakeAdmin)
    seen = []

    class Session:
        async def close(self):
            seen.append("closed")

    async def connect(module, dsn):
        seen.append(machine.read(0))
        return Session()

    async def fail(module, dsn):
        raise OSError("nobody is there")

    candidates = [
        Candidate(name, open_session, str, package="json")
        for name, open_session in (("bad", fail), ("good", connect))
    ]
    pool = POOLS["chopin"]
    plan = Plan([*candidates, pool], [], "quick", 1, 1)
    await measure.measure(plan, None, PRIVATE, lambda one: None)
    assert seen == [ALL, "closed"]


# -- what is said of it -------------------------------------------------------------


def outcome(name, count, group="serial reads"):
    """A row in which Chopin is behind, measured on so many cores."""
    samples = {"chopin": [Sample(2.0, 1.0)], "asyncpg": [Sample(1.0, 1.0)]}
    return Outcome(name, group, "q/s", 100, samples, cores=count)


def run_of(*outcomes):
    """A run of one loop."""
    machine = {"python": "3.11.7"}
    return Run({"machine": machine, "loops": {"asyncio": list(outcomes)}})


def test_rows_on_one_core_are_marked_in_every_table():
    """And no others."""
    rows = [outcome("select_1", 1), outcome("param", 2), outcome("crud_select", 0)]
    names = ["select_1 †", "param", "crud_select"]
    terminal = connection_tables(rows, ["chopin", "asyncpg"])[0]
    assert [row[0] for row in terminal.rows[1:]] == names
    assert [row[0] for row in table_of("serial reads", rows).rows] == names
    report = Document([run_of(*rows)], {})
    for name in names:
        assert f"| {name} | 3.11" in report.render("@below")
    report.render("@ratios one connection")
    (picture,) = report.plots.values()
    assert ">select_1 †<" in picture
    assert ">param<" in picture


def test_pools_with_one_task_are_marked():
    """Their name is a heading."""
    one = outcome("pool_reads_1", 1, "pool, reads")
    for table in (*pools_tables([one], ["chopin"]), table_of("pool, reads", [one])):
        assert table.rows[0] == ["pool_reads_1 †, q/s"]


def test_the_readme_marks_its_rows():
    """If one of the loops had one core."""
    loops = {"asyncio": [outcome("select_1", 2)], "uvloop": [outcome("select_1", 1)]}
    loops["uvloop"].append(outcome("crud_select", 2))
    results = {
        loop: {one.workload: one for one in rows} for loop, rows in loops.items()
    }
    text = with_tables("<!-- bench: crud -->\n<!-- /bench -->\n", results)
    assert "| serial reads: `SELECT 1` † |" in text
    assert "| a row by its key |" in text
    assert text.count("†") == 1


def test_what_the_mark_means_is_said_where_there_is_one():
    """Or that there is none."""
    bound, free = outcome("select_1", 1), outcome("select_1", 2)
    assert placing([free, bound]) == "† client and server had one core, in turns"
    assert placing([free]) == "no row had one core for client and server"
    said = Document([run_of(free, bound)], {}).render("@cores")
    assert said.startswith("In rows marked † client and server had one core")
    said = Document([run_of(free)], {}).render("@cores")
    assert said.startswith("Client and server had all cores in all rows")


def test_cores_are_kept_in_the_results(tmp_path):
    """And are unknown in those that are older."""
    path = tmp_path / "result.json"
    raw = {"loops": {"asyncio": [as_json(outcome("select_1", 1))]}}
    write_results(path, {"date": "today", **raw})
    (back,) = read_results(path)["loops"]["asyncio"]
    assert back.cores == 1
    fields = as_json(outcome("select_1", 1))
    del fields["cores"]
    fields["samples"] = {}
    assert unpacked(fields).cores == 0


@pytest.mark.skipif(not COMMITTED, reason="no results are committed")
def test_the_committed_results_can_be_read():
    """Whenever they were made."""
    for path in COMMITTED:
        for outcomes in read_results(path)["loops"].values():
            assert all(one.cores >= 0 for one in outcomes)
