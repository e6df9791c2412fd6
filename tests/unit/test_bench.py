"""The benchmark's own arithmetic: statistics, tables, goals, workloads, raw limit."""

import itertools
import socket
import threading
from collections import Counter

import pytest

from bench import limit
from bench.__main__ import fitting, make_parts, parser
from bench.candidates import CANDIDATES, importable
from bench.goals import GOALS, Goal, judge
from bench.measure import LIMIT, Contest, Outcome, Plan, Sample, sliced
from bench.pools import POOLS
from bench.registry import (
    POOL_WORKLOADS,
    TYPE_WORKLOADS,
    WORKLOADS,
    by_name,
    chosen_workloads,
)
from bench.report import Table, goals_table, number, results_table
from bench.server import Target
from bench.stats import CPU, THROUGHPUT, cpu_per_operation, rates, ratio, spread
from bench.words import BenchError
from bench.workloads import Sizes, Workload, random_ids, world_values


def outcome(name="select_1", **walls):
    """An Outcome of 100 operations; CPU is half of the wall time."""
    samples = {
        player: [Sample(wall, wall / 2) for wall in times]
        for player, times in walls.items()
    }
    return Outcome(name, "serial reads", "q/s", 100, samples)


# -- statistics ---------------------------------------------------------------------


def test_ratio_is_taken_within_rounds():
    """A round that is slow for both sides does not change the ratio."""
    result = outcome(chopin=[1.0, 10.0, 1.0], asyncpg=[2.0, 20.0, 2.0])
    assert ratio(result, THROUGHPUT, "chopin", "asyncpg") == 2.0
    assert ratio(result, CPU, "chopin", "asyncpg") == 0.5


def test_ratio_of_the_absent_is_none():
    """A candidate that was taken out has no ratio."""
    assert ratio(outcome(chopin=[1.0]), THROUGHPUT, "chopin", "asyncpg") is None


def test_rates_and_cpu_are_per_operation():
    """Operations per second, and seconds of CPU per operation."""
    result = outcome(chopin=[1.0, 2.0, 4.0])
    assert rates(result, "chopin") == [100.0, 50.0, 25.0]
    assert cpu_per_operation(result, "chopin") == 0.01


def test_spread_is_the_quartile_distance_over_the_median():
    """One value has no spread."""
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
    assert spread([7.0]) == 0.0


# -- goals --------------------------------------------------------------------------


def test_goals_are_at_least_in_throughput_and_at_most_in_cpu():
    """The direction depends on what is measured."""
    assert Goal("x", THROUGHPUT, "asyncpg", 1.4).is_met(1.4)
    assert not Goal("x", THROUGHPUT, "asyncpg", 1.4).is_met(1.39)
    assert Goal("x", CPU, "asyncpg", 0.55).is_met(0.55)
    assert not Goal("x", CPU, "asyncpg", 0.55).is_met(0.56)


def test_goals_name_workloads_that_exist():
    """A goal whose workload is misspelt would never be checked."""
    players = {*CANDIDATES, *POOLS, LIMIT}
    workloads = {*WORKLOADS, *POOL_WORKLOADS, *TYPE_WORKLOADS}
    assert {goal.workload for goal in GOALS} <= workloads
    assert {goal.rival for goal in GOALS} <= {*players, ""}
    assert {goal.subject for goal in GOALS} <= players


def test_judge_tells_what_was_reached_and_what_was_not_measured():
    """Only the workloads that were run are judged; an absent candidate fails."""
    good = outcome(chopin=[1.0], asyncpg=[2.0])
    verdicts = judge([good, outcome("param", asyncpg=[1.0])])
    got = [
        (one.goal.workload, one.goal.measure, one.reached, one.is_met)
        for one in verdicts
    ]
    assert sorted(got, key=lambda row: row[:2]) == [
        ("param", CPU, None, False),
        ("param", THROUGHPUT, None, False),
        ("select_1", CPU, 0.5, True),
        ("select_1", THROUGHPUT, 2.0, True),
    ]
    words = [row[-1] for row in goals_table(verdicts).rows]
    assert sorted(words) == ["met", "met", "not measured", "not measured"]


# -- tables -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.184, "0.18"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (60.64, "60.6"),
        (99.96, "100"),
        (606.4, "606"),
        (999.6, "1.00k"),
        (12_345.0, "12.3k"),
        (999_600.0, "1.00M"),
        (1_314_000.0, "1.31M"),
    ],
)
def test_numbers_have_three_digits(value, text):
    """Also where rounding reaches the next unit."""
    assert number(value) == text


def test_text_table_is_aligned():
    """The first column to the left, the others to the right, headings apart."""
    table = Table(["workload", "q/s"], [["a heading that is long"], ["x", "12345"]])
    assert table.as_text().splitlines() == [
        "workload    q/s",
        "--------  -----",
        "",
        "a heading that is long",
        "x         12345",
    ]


def test_markdown_table_has_full_rows():
    """A heading becomes a bold row with as many cells as the others."""
    table = Table(["workload", "q/s"], [["reads"], ["x", "1"]])
    assert table.as_markdown().splitlines() == [
        "| workload | q/s |",
        "| --- | ---: |",
        "| **reads** |  |",
        "| x | 1 |",
    ]


def test_results_table_compares_chopin_with_all_others():
    """Ratios are Chopin's; the limit is a player like the others."""
    result = outcome(chopin=[1.0], asyncpg=[2.0], limit=[0.5])
    table = results_table([result], ["chopin", "asyncpg"])
    assert table.rows == [
        ["serial reads"],
        [
            "select_1",
            "q/s",
            *("100 ±0%", "50.0 ±0%", "200 ±0%"),
            *("2.00x", "0.50x"),
            *("5000", "10000", "2500"),
            "0.50x",
        ],
    ]
    assert all(len(row) in (1, len(table.header)) for row in table.rows)


# -- workloads ----------------------------------------------------------------------


def test_random_ids_are_those_of_the_original_benchmark():
    """xorshift32, computed by hand from seed 1: 270369, 67634689, 2647435461."""
    assert list(itertools.islice(random_ids(1), 3)) == [370, 4690, 5462]


def test_world_has_every_id_once_and_numbers_in_range():
    """10,000 rows as the original benchmark makes them."""
    rows = world_values()
    assert [key for key, _ in rows] == list(range(1, 10_001))
    assert all(1 <= value <= 10_000 for _, value in rows)


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda one: one.name)
def test_inputs_repeat_themselves(workload):
    """Two candidates, or two runs, are given the same work."""
    count = max(2, 50 // workload.weight)
    first = list(itertools.islice(workload.inputs(), count))
    assert first == list(itertools.islice(workload.inputs(), count))
    assert len(first) == count


def test_batches_have_no_id_twice():
    """One UPDATE changes a row once, so the result is certain."""
    inputs = WORKLOADS["updates_batched_20"].inputs()
    for batch in itertools.islice(inputs, 200):
        assert len({key for key, _ in batch}) == 20


def test_workloads_are_chosen_by_pattern_in_their_order():
    """Whatever the order of the patterns."""
    chosen, pool, types = chosen_workloads(["rows_*", "select_1"])
    names = [one.name for one in chosen]
    assert names == ["select_1", "rows_all_six", "rows_no_numeric", "rows_int_float"]
    assert pool == types == []
    assert chosen_workloads([]) == (list(WORKLOADS.values()), [], [])


def test_all_is_everything():
    """Of all three kinds."""
    everything = tuple(
        list(table.values()) for table in (WORKLOADS, POOL_WORKLOADS, TYPE_WORKLOADS)
    )
    assert chosen_workloads(["connection", "pool", "types"]) == everything
    assert chosen_workloads(["all"]) == everything


def test_prices_of_values_are_asked_for_once_and_in_few_short_rounds():
    """The kind of loop has no part in them; whoever has time gets all rounds."""

    def parts(*arguments):
        options = parser().parse_args(["all", "--rounds", "7", *arguments])
        return {part.heading: part for part in make_parts(options, 2)}

    quick, whole = parts("--quick"), parts()
    assert [part.plan.rounds for part in quick.values()] == [7, 7, 3]
    assert [part.plan.rounds for part in whole.values()] == [7, 7, 7]
    assert [part.is_for_one_loop for part in quick.values()] == [False, False, True]


def test_what_is_left_out_of_the_short_run_is_printed(capsys):
    """By name; a run at another scale has everything."""
    chosen, _, _ = chosen_workloads(["fetch_1000*"])
    names = [one.name for one in fitting(chosen, "quick")]
    assert names == ["fetch_1000", "fetch_10000", "fetch_100000"]
    told = "left out of the short run: fetch_1000000\n"
    assert capsys.readouterr().err == told
    assert fitting(chosen, "default") == chosen
    assert capsys.readouterr().err == ""


def test_every_table_of_the_short_run_keeps_rows():
    """Two at least, of those that have rows left out."""
    every = [*WORKLOADS.values(), *POOL_WORKLOADS.values()]
    kept = Counter(one.group for one in every if one.sizes.quick)
    lost = {one.group for one in every if not one.sizes.quick}
    assert lost
    assert all(kept[group] >= 2 for group in lost)


def test_pattern_without_workload_is_an_error():
    """A typing error must not measure nothing."""
    with pytest.raises(BenchError, match="no workload matches 'selct'"):
        chosen_workloads(["selct"])


def test_names_of_workloads_are_unique():
    """A second one of the same name would hide the first."""
    with pytest.raises(ValueError, match="'param' comes twice"):
        by_name([WORKLOADS["param"], WORKLOADS["param"]])


def test_unknown_candidate_is_left_out_with_a_reason():
    """The others go on."""
    found, reasons = importable(["nosuchdriver"])
    assert found == []
    assert reasons[0].startswith("nosuchdriver: no such candidate")


def test_command_line_has_the_three_scales():
    """The scale is one of quick, default and full."""
    scales = [parser().parse_args(args).scale for args in ([], ["--quick"], ["--full"])]
    assert scales == ["default", "quick", "full"]


# -- rounds -------------------------------------------------------------------------


def test_slices_cover_all_items():
    """Nearly equal parts in order; few items make fewer parts."""
    assert sliced(range(10), 4) == [range(3), range(3, 6), range(6, 9), range(9, 10)]
    assert sliced([1, 2], 8) == [[1], [2]]


class FakeAdmin:
    """Tables that are as a dict of schemas says."""

    def __init__(self, states):
        self._states = states

    async def execute(self, schema, statement):
        """There is no server."""

    async def state(self, schema, query):
        """The state that was given."""
        return self._states.get(schema, (1,))


class FakeSession:
    """A session that returns always the same."""

    def __init__(self, answer):
        self._answer = answer
        self.is_closed = False

    async def fetchrow(self, query):
        """The answer, or the error."""
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def script(self, query):
        """Nothing to set."""

    async def close(self):
        """Remember it."""
        self.is_closed = True


class FakeCandidate:
    """A candidate whose connection is known."""

    groups = ()

    def __init__(self, name, answer):
        self.name = name
        self.session = FakeSession(answer)

    async def connect(self, dsn):
        """The one session."""
        return self.session


async def play(answers, states):
    """A contest of 20 operations in 3 rounds between fakes."""

    async def run(seat, items):
        return [await seat.session.fetchrow("SELECT") for _ in items]

    workload = Workload(
        *("fake", "fakes", "q/s", Sizes(20, 20, 20), itertools.count, run),
        state="SELECT state",
    )
    candidates = [FakeCandidate(name, answer) for name, answer in answers.items()]
    plan = Plan(candidates, [workload], "quick", 3, 1)
    target = Target("postgresql://nowhere/x", private=False)
    contest = Contest(workload, plan, target, FakeAdmin(states))
    result = await contest.play()
    assert all(candidate.session.is_closed for candidate in candidates)
    return result


async def test_equal_candidates_have_a_sample_per_round():
    """Turns within a round are added up."""
    result = await play({"chopin": 1, "asyncpg": 1}, {})
    assert {name: len(got) for name, got in result.samples.items()} == {
        "chopin": 3,
        "asyncpg": 3,
    }
    assert result.problems == []


async def test_other_results_than_the_baseline_are_taken_out():
    """Where opinions are even, asyncpg is right."""
    result = await play({"chopin": 2, "asyncpg": 1}, {})
    assert list(result.samples) == ["asyncpg"]
    assert result.problems[0].startswith("fake: chopin returned [2, 2")


async def test_other_tables_in_the_end_are_taken_out():
    """What a candidate wrote counts as well."""
    states = {"bench_chopin": (7,)}
    result = await play({"chopin": 1, "asyncpg": 1, "psycopg": 1}, states)
    assert sorted(result.samples) == ["asyncpg", "psycopg"]
    assert result.problems == ["fake: chopin left (7,), the others (1,)"]


async def test_a_candidate_that_fails_does_not_stop_the_others():
    """The report says why it is missing."""
    result = await play({"chopin": RuntimeError("boom"), "asyncpg": 1}, {})
    assert list(result.samples) == ["asyncpg"]
    assert result.problems == ["fake: chopin failed: RuntimeError('boom')"]


# -- the raw connection -------------------------------------------------------------


@pytest.fixture
def scripted_server():
    """Serve one connection: answer each thing received with the next reply."""
    threads = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(replies):
            def run():
                connection, _ = listener.accept()
                with connection:
                    for reply in replies:
                        connection.recv(65536)
                        connection.sendall(reply)
                    connection.recv(65536)

            threads.append(threading.Thread(target=run))
            threads[0].start()
            return listener.getsockname()[:2]

        yield serve
        for thread in threads:
            thread.join()


def test_raw_connection_waits_for_the_exact_end(scripted_server):
    """What comes before the end is drained unread."""
    end = limit.reply_end("SELECT 1")
    address = scripted_server([limit.READY, b"D\x00\x00\x00\x06\x00\x00" + end])
    raw = limit.RawConnection(address, {"user": "x"})
    raw.exchange(limit.bind(()) + limit.EXECUTE + limit.SYNC, end)
    raw.close()


def test_a_statement_is_prepared_once(scripted_server):
    """It keeps its plan, as those of the drivers do; there is one answer only."""
    parsed = b"1\x00\x00\x00\x04" + limit.READY
    raw = limit.RawConnection(scripted_server([limit.READY, parsed]), {"user": "x"})
    raw.prepare("SELECT 1")
    raw.prepare("SELECT 1")
    with pytest.raises(limit.LimitError, match="closed the connection"):
        raw.prepare("SELECT 2")
    raw.close()


def test_raw_connection_refuses_another_end(scripted_server):
    """An error, or fewer rows, must not count as the limit."""
    address = scripted_server([limit.READY, limit.reply_end("INSERT 0 2")])
    raw = limit.RawConnection(address, {"user": "x"})
    with pytest.raises(limit.LimitError, match="unexpected end"):
        raw.exchange(limit.SYNC, limit.reply_end("INSERT 0 1"))
    raw.close()


def test_messages_are_framed_as_the_protocol_says():
    """Bytes written out by hand."""
    assert limit.bind([limit.int4(5)]) == (
        b"B\x00\x00\x00\x18"
        b"\x00\x00\x00\x01\x00\x01\x00\x01\x00\x00\x00\x04\x00\x00\x00\x05"
        b"\x00\x01\x00\x01"
    )
    assert limit.parse("X") == b"P\x00\x00\x00\x09\x00X\x00\x00\x00"
    assert limit.reply_end("X") == b"C\x00\x00\x00\x06X\x00Z\x00\x00\x00\x05I"
