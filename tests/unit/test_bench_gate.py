"""The gate that counts instructions: its script, its workloads and its verdicts."""

import asyncio
import gc
import json
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from bench import gate, gatework
from bench.gate import Verdict, compare, suspects
from bench.gateserver import NOW, Answer, Script, ScriptedLoop, parameters_of

ROOT = Path(__file__).parents[2]


def on_script(coroutine):
    """Run it on a loop where everything connects to the script.

    Workloads leave their connections open: the process ends behind them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with asyncio.Runner(loop_factory=ScriptedLoop) as runner:
            result = runner.run(coroutine)
        del coroutine, runner
        gc.collect()
    return result


# -- the script ----------------------------------------------------------------------


def test_script_answers_a_driver():
    """Rows, tags and the transaction status come as from a server."""

    async def talk():
        row = await gatework.encoded(gatework.SIX)
        answer = Answer((), [oid for oid, _ in gatework.SIX], [row, row])
        connection, _ = await gatework.connected({"SELECT": answer})
        rows = await connection.fetch("SELECT")
        async with connection.transaction():
            assert await connection.execute("UPDATE t") == "UPDATE"
            assert connection.is_in_transaction()
        assert not connection.is_in_transaction()
        await connection.close()
        return [tuple(row) for row in rows]

    expected = tuple(value for _, value in gatework.SIX)
    assert on_script(talk()) == [expected, expected]


def test_script_keeps_what_it_was_asked():
    """Equal bytes in an equal state are answered from memory, others are read."""
    script = Script({"A": Answer(tag="ONE")})
    query = b"Q\0\0\0\6A\0"
    status, said = script.answer(b"I", query)
    assert script.answer(b"I", query)[1] is said
    assert (status, said[-6:]) == (b"I", b"Z\0\0\0\5I")
    assert script.answer(b"T", query)[1][-6:] == b"Z\0\0\0\5T"


def test_parameters_are_found_in_bind():
    """Whatever the formats are."""
    bind = b"\0name\0\0\1\0\1\0\2\0\0\0\2ab\0\0\0\0\0\1\0\1"
    assert parameters_of(bind) == [b"ab", b""]


# -- the workloads -------------------------------------------------------------------


@pytest.mark.parametrize("family", gatework.FAMILIES)
def test_families_come_back_as_they_were(family):
    """What is counted for values is their encoding and decoding, and works."""
    pairs = gatework.FAMILIES[family]

    async def travel():
        run = await gatework.decode(family, 3)
        return await run()

    rows = on_script(travel())
    assert [tuple(row) for row in rows] == [tuple(value for _, value in pairs)] * 3


@pytest.mark.parametrize("name", gatework.WORKS)
def test_workloads_run(name):
    """More than once, in the same event loop."""

    async def twice():
        run = await gatework.WORKS[name].prepare()
        await run()
        await run()

    on_script(twice())


def test_late_half_rides(monkeypatch):
    """The workload of reads that ride has riders, as time stands still."""
    monkeypatch.setattr(time, "monotonic", lambda: NOW)
    monkeypatch.setattr("chopin.pool.monotonic", time.monotonic)

    async def ride():
        pool = await gatework.opened_pool(2)
        fetch = pool.fetch
        for _ in range(2):
            await asyncio.gather(*[fetch(gatework.SELECT, n) for n in range(8)])
        return pool.stats().rides

    # not in the first round, when nobody knows yet that the read is fast
    assert on_script(ride()) == 6


# -- the verdict ---------------------------------------------------------------------


def test_slower_is_what_exceeds_the_threshold():
    """By the median of the layouts that were counted."""
    one, other = compare(
        {"a": [104.0, 100.0, 105.0], "b": [100.0]},
        {"a": [100.0, 100.0, 100.0], "b": [100.0, 1.0, 1.0]},
    )
    assert (one.change, other.change) == (pytest.approx(4.0), 0.0)
    assert (one.word(3.0), one.word(5.0), other.word(3.0)) == ("SLOWER", "", "")
    assert suspects([one, other], 3.0) == ["a"]


def test_better_and_new_are_no_failure():
    """They are said."""
    assert Verdict("a", 90.0, 100.0).word(3.0) == "faster"
    assert Verdict("a", 90.0, None).word(3.0) == "new"
    assert suspects([Verdict("a", 90.0, None)], 3.0) == []


@pytest.fixture
def counted(monkeypatch):
    """What `count` returns by seed, without counting; the seeds that it was asked."""
    answers, asked = {}, []

    def count(names, seed, jobs):
        asked.append((seed, list(names)))
        return {name: answers.get((name, seed), 100.0) for name in names}

    monkeypatch.setattr(gate, "count", count)
    monkeypatch.setattr(gate, "valgrind", lambda: "valgrind")
    monkeypatch.setattr(gate, "warm_up", lambda names: None)
    return answers, asked


def run_gate(path, *arguments):
    return gate.main(["fetch_one", "connect", "--baseline", str(path), *arguments])


def test_gate_counts_again_what_seems_slower(tmp_path, counted, capsys):
    """A layout that is unlucky is no regression, three that agree are one."""
    answers, asked = counted
    path = tmp_path / "baseline.json"
    assert run_gate(path, "--update") == 0
    assert json.loads(path.read_text())[gate.build()]["connect"] == [100.0] * 3
    asked.clear()
    assert run_gate(path) == 0
    assert asked == [(0, ["fetch_one", "connect"])]
    answers["connect", 0] = 110.0
    assert run_gate(path) == 0
    # one that hides a part of the regression
    answers["connect", 0] = 101.5
    answers["connect", 1] = answers["connect", 2] = 104.0
    asked.clear()
    assert run_gate(path) == gate.SLOWER
    assert asked[1:] == [(1, ["connect"]), (2, ["connect"])]
    assert "+4.00 %" in capsys.readouterr().out
    assert run_gate(path, "--threshold", "5") == 0


def test_gate_gives_no_verdict_without_a_baseline(tmp_path, counted, capsys):
    """Another interpreter takes another number of instructions."""
    path = tmp_path / "baseline.json"
    assert run_gate(path) == gate.CANNOT_TELL
    path.write_text('{"another build": {"fetch_one": [1.0]}}')
    assert run_gate(path) == gate.CANNOT_TELL
    assert "--update" in capsys.readouterr().err


def test_gate_says_what_to_install(monkeypatch, capsys):
    """With an exit status of its own."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert gate.main([]) == gate.CANNOT_TELL
    assert "apt-get install valgrind" in capsys.readouterr().err


def test_gate_refuses_what_it_does_not_know(tmp_path, capsys):
    """A workload, or a file that is no baseline."""
    assert gate.main(["no_such"]) == 2
    path = tmp_path / "baseline.json"
    path.write_text("{")
    with pytest.raises(gate.BenchError, match="no baseline"):
        gate.read_baseline(path)


def test_baseline_knows_the_workloads():
    """One that is renamed or removed is taken out of the baseline too."""
    for counts in gate.read_baseline(gate.BASELINE).values():
        assert set(counts) == set(gatework.WORKS)
        assert {len(each) for each in counts.values()} == {len(gate.SEEDS)}


def test_marks_are_where_they_are_looked_for(tmp_path):
    """The part of a run that valgrind needs no valgrind for: it ends well."""
    command = gate.child(["fetch_one", "connect"], 2)
    said = gate.run_child(command, 0, str(tmp_path))
    assert [line.split()[0] for line in said.splitlines()] == ["fetch_one", "connect"]


def test_failure_of_a_workload_is_told(tmp_path):
    """Not taken for a count."""
    with pytest.raises(gate.BenchError, match="KeyError"):
        gate.run_child(gate.child(["no_such"], 1), 0, str(tmp_path))


def test_time_stands_still():
    """For who asks after `stop_time`."""
    program = (
        "from bench.gateserver import stop_time; stop_time(); import time, asyncio;"
        "print(len({time.monotonic(), asyncio.new_event_loop().time()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"1"
