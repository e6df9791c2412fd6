"""The benchmark of single values: its arithmetic, its table, what it compares."""

import datetime
import decimal
import uuid

import asyncpg
import psycopg.types.multirange
import psycopg.types.range
import pytest

import chopin
from bench import typecontest
from bench.candidates import CANDIDATES
from bench.measure import NOTHING, Outcome, Plan, Sample, takes_part
from bench.registry import TYPE_WORKLOADS, chosen_workloads
from bench.report import types_tables
from bench.server import Target
from bench.typecontest import TypeContest, TypePlayer, TypeSample
from bench.typework import FAMILIES, TypeSeat, plain


def outcome(name, **samples):
    """An Outcome of one operation; samples are nanoseconds of a value and of a row."""
    return Outcome(
        name,
        name.partition("_")[0],
        "ns",
        1,
        {
            player: [TypeSample(1.0, 1.0, each, row)]
            for player, (each, row) in samples.items()
        },
    )


def test_types_are_picked_by_one_word_or_by_pattern():
    """Of both directions; nobody else is."""
    connection, pool, types = chosen_workloads(["types"])
    assert (connection, pool, types) == ([], [], list(TYPE_WORKLOADS.values()))
    names = [one.name for one in chosen_workloads(["*_uuid"])[2]]
    assert names == ["decode_uuid", "encode_uuid"]


def test_every_type_is_measured_in_both_directions():
    """But for anonymous records, which no server reads."""
    wanted = {f"decode_{family.name}" for family in FAMILIES}
    wanted |= {f"encode_{family.name}" for family in FAMILIES} - {"encode_record"}
    assert set(TYPE_WORKLOADS) == wanted


def test_who_cannot_be_asked_for_a_price_is_left_out():
    """A panic would end the whole run, and columns are no values."""
    for one in TYPE_WORKLOADS.values():
        present = [name for name in CANDIDATES if takes_part(CANDIDATES[name], one)]
        assert present == ["chopin", "asyncpg", "psycopg"]


@pytest.mark.parametrize("one", TYPE_WORKLOADS.values(), ids=lambda one: one.name)
def test_sizes_can_be_divided(one):
    """Every scale has rows in each fetch, and more than one value."""
    for scale in ("quick", "default", "full"):
        assert one.sizes.of(scale) >= 5
    assert one.many > 1
    assert one.slices == 1


def test_table_has_a_row_per_type_and_a_table_per_direction():
    """Ratios say how many times as long the others take."""
    tables = types_tables(
        [
            outcome("decode_int4", chopin=(20, 100), asyncpg=(50, 300)),
            outcome("encode_int4_array", chopin=(40, 9_000), asyncpg=(20, 18_000)),
        ],
        ["chopin", "asyncpg"],
    )
    assert [table.header[0] for table in tables] == ["decode, ns", "encode, ns"]
    assert tables[0].rows == [["int4", "20.0", "50.0", "2.50x", "100", "300", "3.00x"]]
    assert tables[1].rows[0][:4] == ["int4_array", "40.0", "20.0", "0.50x"]
    assert all(len(row) == len(one.header) for one in tables for row in one.rows)


def test_table_of_a_driver_that_was_taken_out():
    """It has a dash."""
    (table,) = types_tables([outcome("decode_int4", chopin=(2, 3))], ["chopin", "x"])
    assert table.rows == [["int4", "2.00", "-", "-", "3.00", "-", "-"]]


async def test_a_value_is_what_more_of_them_cost(monkeypatch):
    """A call of 5 ms with one value and of 25 ms with eleven: 2 ms for each."""

    async def cpu(action):
        many = await action()
        return Sample(0.0, 0.003 + 0.002 * many), "same"

    async def run(seat, items, many):
        return many * len(items)

    monkeypatch.setattr(typecontest, "take_sample", cpu)
    workload = TYPE_WORKLOADS["encode_int4"]
    workload = type(workload)(
        *("encode_x", "encode", "ns", workload.sizes, workload.inputs, run),
        slices=1,
        family=workload.family,
        many=11,
    )
    contest = TypeContest(
        workload, Plan([], [], "quick", 1, 1), Target("postgresql://x/x", False), None
    )
    player = TypePlayer("x", workload, TypeSeat(None))
    sample, check = await contest._turn(player, [0], is_first=True)
    assert sample.each == pytest.approx(2e6)
    assert sample.row == pytest.approx(5e6)
    assert check == ("same", "same")
    assert NOTHING + sample is sample


def test_values_of_all_drivers_are_compared_as_plain_ones():
    """Classes are their own, what they hold is not."""
    ranges = [
        chopin.Range(1, 5),
        asyncpg.Range(1, 5),
        psycopg.types.range.Range(1, 5),
    ]
    assert [plain(one) for one in ranges] == [[1, 5, True, False]] * 3
    assert plain(psycopg.types.multirange.Multirange(ranges[2:])) == [plain(ranges[0])]
    assert plain(chopin.Point(1, 2)) == plain(asyncpg.Point(1, 2)) == [1.0, 2.0]
    assert plain(chopin.BitString("101")) == plain(asyncpg.BitString("101"))
    assert plain({"a": (1,)}) == {"a": [1]}
    for value in (1, "x", b"x", None, decimal.Decimal(1), uuid.UUID(int=1)):
        assert plain(value) is value
    assert plain(datetime.datetime.min) == datetime.datetime.min
