"""The profile: samples by place, and costs by layer."""

import pytest

from bench.profilehot import Case, Cost, layers_table, least
from bench.profileplaces import OUR_OBJECTS, by_place, place_of, places_table, readable

OURS = sorted(OUR_OBJECTS)[0]
REPORT = f"""
# Overhead\tShared Object\tSymbol
#
  40.00%\t[kernel.kallsyms]\t[k] tcp_sendmsg_locked
  30.00%\t{OURS}\t[.] __pyx_f_6chopin_5_rows_7RowPlan_decode_row
  20.00%\tlibpython3.11.so.1.0\t[.] _PyEval_EvalFrameDefault
   9.50%\tlibpython3.11.so.1.0\t[.] _PyEval_EvalFrameDefault
   0.50%\tld-linux-x86-64.so.2\t[.] do_lookup_x
"""


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("__pyx_f_6chopin_5_rows_7RowPlan_decode_row", "_rows.RowPlan.decode_row"),
        ("__pyx_pw_6chopin_4_ops_3start_query", "_ops.start_query"),
        (
            "__pyx_pw_6chopin_9_protocol_7Session_11buffer_updated",
            "_protocol.Session.buffer_updated",
        ),
        ("__pyx_f_6chopin_12_codecs_time_check_size", "_codecs_time.check_size"),
        ("__pyx_freelist", "_ops.__pyx_freelist"),
        ("_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault"),
    ],
)
def test_functions_are_named_as_in_the_source(symbol, name):
    """Cython's names are long and full of lengths."""
    assert readable(symbol, "_ops.cpython-311-x86_64-linux-gnu.so") == name


@pytest.mark.parametrize(
    ("shared_object", "symbol", "place"),
    [
        ("loop.cpython-311-x86_64-linux-gnu.so", "uv__read", "event loop: uvloop"),
        ("_asyncio.cpython-311-x86_64-linux-gnu.so", "task_step", "event loop: tasks"),
        ("libpython3.11.so.1.0", "_PyObject_Malloc", "interpreter: memory"),
        ("python3.13", "PyObject_GetAttr", "interpreter: objects and calls"),
        ("libc.so.6", "memcpy", "C library"),
        ("[kernel.kallsyms]", "finish_task_switch", "kernel: waiting and waking"),
        ("[kernel.kallsyms]", "clear_page_erms", "kernel: memory"),
        ("libmystery.so", "f", "anything else"),
    ],
)
def test_samples_have_a_place(shared_object, symbol, place):
    """By shared object and function."""
    assert place_of(shared_object, symbol) == place


def test_report_becomes_places():
    """Shares add up, and the largest come first."""
    places = {place.name: place for place in by_place(REPORT)}
    assert sum(place.share for place in places.values()) == pytest.approx(100)
    assert places["Chopin, compiled"].named() == "_rows.RowPlan.decode_row 30.0"
    assert places["interpreter: bytecode"].share == pytest.approx(29.5)
    table = places_table(list(places.values()))
    assert [row[1] for row in table.rows] == ["40.0 %", "30.0 %", "29.5 %", "0.5 %"]


def test_layers_have_what_they_add():
    """A peer is no layer."""
    case = Case("one row", {"floor": None, "session": None}, {"peer": None}, 1)
    costs = {
        "floor": Cost(4e-6, 4e-6),
        "session": Cost(6e-6, 4e-6),
        "peer": Cost(15e-6, 5e-6),
    }
    assert layers_table(case, costs).rows == [
        ["floor", "8.0", "4.0", "4.0", "8.0", "80 %"],
        ["session", "10.0", "6.0", "4.0", "2.0", "20 %"],
        ["peer", "20.0", "15.0", "5.0", "", ""],
    ]


def test_least_is_parted_as_the_sum():
    """One tick of the clock in one round says nothing of that round."""
    cost = least([Cost(4.0, 0.0), Cost(0.0, 4.0), Cost(8.0, 0.0)])
    assert (cost.user, cost.kernel) == (3.0, 1.0)
