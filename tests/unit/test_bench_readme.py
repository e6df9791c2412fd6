"""The tables of the README and the committed page: made of results, not by hand."""

from pathlib import Path

import pytest

from bench.document import REMARKS, TEMPLATE, Document, Run, read_remarks
from bench.measure import Outcome, Sample
from bench.poolstages import MemorySample
from bench.readme import TABLES, with_tables
from bench.registry import POOL_WORKLOADS, WORKLOADS
from bench.results import read_results
from bench.words import BenchError

ROOT = Path(__file__).parents[2]
RESULTS = sorted(ROOT.glob("docs/bench-*.json"))


def outcome(name, **walls):
    """One round of one operation; CPU is half of the wall time."""
    samples = {player: [Sample(wall, wall / 2)] for player, wall in walls.items()}
    return Outcome(name, "group", "q/s", 1, samples)


def marked(name):
    return f"before\n<!-- bench: {name} -->\nold\n<!-- /bench -->\nafter\n"


def test_only_what_is_between_the_markers_is_made_anew():
    """A figure for each loop; done again, it is the same."""
    results = {
        "asyncio": {
            "select_1": outcome("select_1", chopin=1.0, asyncpg=2.0, psycopg=1.5)
        },
        "uvloop": {"select_1": outcome("select_1", chopin=1.0, asyncpg=3.0)},
    }
    text = with_tables(marked("crud"), results)
    assert text.startswith("before\n<!-- bench: crud -->\n\n| on asyncio / uvloop |")
    assert text.endswith("|\n\n<!-- /bench -->\nafter\n")
    figures = "2.00x / 3.00x | 0.50 / 0.33 | 1.50x / - | 1.50x / 3.00x |"
    assert f"| serial reads: `SELECT 1` | {figures}" in text
    assert "| `INSERT` | - | - | - | - |" in text
    assert "old" not in text
    assert with_tables(text, results) == text


def test_memory_is_a_figure_of_each_pool():
    """And no ratio."""
    memory = Outcome("pool_memory", "pool, memory of idle connections", "conn/s", 1)
    memory.samples = {"chopin": [MemorySample(1.0, 1.0, 31.66)]}
    text = with_tables(marked("memory"), {"asyncio": {"pool_memory": memory}})
    assert "| KiB for an idle connection of a pool | 31.7 | - | - |" in text


def test_a_row_can_be_about_a_variation():
    """It is compared with the same rivals."""
    one = outcome("pool_reads_64", chopin=1.0, chopin_depth_1=2.0, asyncpg=8.0)
    text = with_tables(marked("pool"), {"asyncio": {"pool_reads_64": one}})
    assert "| 64, reads | 8.00x |" in text
    assert "| 64, reads, `pipeline_depth=1` | 4.00x |" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (marked("crudd"), "no table is named 'crudd'; try crud, rows"),
        ("<!-- bench: crud -->\n", "has no end"),
        ("<!-- bench: crud -->\n" + marked("rows"), "begins within another one"),
    ],
)
def test_a_marker_that_is_wrong_is_an_error(text, message):
    """Or a table would stay old unseen, or swallow what is behind it."""
    with pytest.raises(BenchError, match=message):
        with_tables(text, {})


def test_every_row_is_of_a_workload_that_exists():
    """One that is misspelt would be a row of dashes."""
    known = {*WORKLOADS, *POOL_WORKLOADS}
    rows = [row for table in TABLES.values() for row in table.rows]
    assert {row.partition(" of ")[0] for row in rows} <= known


def test_the_readme_has_all_tables():
    """Each once, with an end."""
    text = (ROOT / "README.md").read_text("utf-8")
    for name in TABLES:
        assert text.count(f"<!-- bench: {name} -->") == 1
    with_tables(text, {})


@pytest.mark.skipif(not RESULTS, reason="no results are committed")
def test_readme_and_page_say_what_the_committed_results_say():
    """``make page`` makes both."""
    runs = [Run(read_results(path)) for path in RESULTS]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert with_tables(readme, runs[0].everything()) == readme
    remarks = read_remarks(REMARKS.read_text("utf-8"))
    page = Document(runs, remarks).render(TEMPLATE.read_text("utf-8"))
    assert (ROOT / "docs" / "benchmarks.md").read_text("utf-8") == page
