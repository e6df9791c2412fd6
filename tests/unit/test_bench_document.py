"""Who is ahead, the report and its pictures: made of results that are known."""

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from bench import document
from bench.charts import Axes, Curve, Panel, Point, Row, curves_chart, ratios_chart
from bench.document import DIRECTIVES, TEMPLATE, Document, Run, read_remarks
from bench.figures import FIGURES, draw
from bench.measure import Outcome, Sample
from bench.poolstages import PoolSample
from bench.proxy import Traffic
from bench.registry import POOL_WORKLOADS, WORKLOADS
from bench.report import as_json, short, trips_cell
from bench.results import read_results, write_results
from bench.standing import mean_against_best, mean_ratio, rivals_in, standing
from bench.stats import CPU, THROUGHPUT
from bench.svg import STYLES, Scale, bounds, linear_ticks, log_ticks
from bench.typecontest import TypeSample
from bench.words import BenchError
from bench.yardstick import YardstickError, read_answer


def outcome(name="select_1", group="serial reads", **walls):
    """An Outcome of 100 operations; CPU is half of the wall time."""
    samples = {
        player: [Sample(wall, wall / 2) for wall in times]
        for player, times in walls.items()
    }
    return Outcome(name, group, "q/s", 100, samples)


# -- who is ahead -------------------------------------------------------------------


def test_the_best_rival_is_the_one_that_is_hardest_to_beat():
    """Round by round, whatever their medians are."""
    one = standing(outcome(chopin=[1.0, 4.0], asyncpg=[2.0, 6.0], psycopg=[3.0, 9.0]))
    assert (one.rival, one.ratio, one.is_level) == ("asyncpg", 1.75, True)
    assert (one.low, one.high) == (1.625, 1.875)


def test_yardsticks_and_variations_are_no_rivals():
    """Nobody competes with a raw socket, and Chopin not with itself."""
    result = outcome(chopin=[1.0], chopin_depth_1=[1.0], limit=[0.1], pgbench=[0.1])
    assert rivals_in(result) == []
    assert standing(result) is None


def test_a_row_is_not_level_from_three_percent_on():
    """Less than that cannot be told apart."""
    assert standing(outcome(chopin=[1.0], asyncpg=[0.98])).is_level
    assert not standing(outcome(chopin=[1.0], asyncpg=[0.96])).is_level


def test_means_are_geometric():
    """Twice as fast and half as fast are level."""
    results = [
        outcome(chopin=[1.0], asyncpg=[2.0], psycopg=[4.0]),
        outcome(chopin=[1.0], asyncpg=[0.5], psycopg=[0.4]),
    ]
    assert mean_ratio(results, THROUGHPUT, "asyncpg") == pytest.approx(1.0)
    assert mean_ratio(results, CPU, "asyncpg") == pytest.approx(1.0)
    assert mean_against_best(results) == pytest.approx((2.0 * 0.4) ** 0.5)
    assert mean_ratio(results, CPU, "psqlpy") is None


# -- results as a file --------------------------------------------------------------


def raw(*outcomes, loops=("asyncio",)):
    """What a run has found."""
    return {
        "arguments": ["all"],
        "date": "2026-01-01",
        "seconds": 120.0,
        "machine": {
            "processor": "P",
            "cores": 2,
            "load": [0.1, 0.2, 0.3],
            "system": "Linux",
            "python": "3.11.7",
        },
        "versions": {"chopin": "0.1.0 (so)"},
        "settings": {"server_version": "18.4", "fsync": "off"},
        "loops": {loop: [as_json(one) for one in outcomes] for loop in loops},
    }


def test_results_come_back_as_they_were_written(tmp_path):
    """All samples with all fields, and the round trips."""
    path = tmp_path / "deep" / "result.json"
    first = outcome(chopin=[1.0, 2.0], asyncpg=[3.0, 4.0])
    first.traffic = {"chopin": Traffic(1.0, 50.0, 60.0)}
    pool = Outcome("curve_1", "pool, curve of tasks", "q/s", 100)
    pool.samples = {"chopin": [PoolSample(1.0, 0.5, 0.001, 0.002, 0.003)]}
    write_results(path, raw(first, pool, loops=("asyncio", "uvloop")))
    json.loads(path.read_text(encoding="utf-8"))
    back = read_results(path)
    assert list(back["loops"]) == ["asyncio", "uvloop"]
    one, other = back["loops"]["uvloop"]
    assert [sample.wall for sample in one.samples["asyncpg"]] == [3.0, 4.0]
    assert one.traffic == first.traffic
    assert other.samples["chopin"][0].p999 == 0.003
    assert standing(one).ratio == standing(first).ratio


# -- pictures -----------------------------------------------------------------------


def elements(svg, tag):
    """All elements of a kind in a picture, which must be good XML."""
    tree = ElementTree.fromstring(svg)
    return list(tree.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def test_every_point_has_a_mark_that_says_what_it_is():
    """Whoever points at it reads the number."""
    curve = Curve("chopin", [Point.of(1.0, [1000.0]), Point.of(20.0, [2000.0])])
    svg = curves_chart("T", Axes("x", "y"), [Panel("one", [curve])])
    hints = [element.text for element in elements(svg, "title")]
    assert hints == ["chopin, 1: 1k", "chopin, 20: 2k"]


def test_every_point_has_its_quartiles():
    """An upright line in the player's colour, as long as the middle half is wide."""
    assert Point.of(1.0, [5.0, 1.0, 2.0, 3.0, 4.0]) == Point(1.0, 3.0, 2.0, 4.0)
    curve = Curve("chopin", [Point(1.0, 3.0, 2.0, 4.0)])
    svg = curves_chart("T", Axes("x", "y"), [Panel("one", [curve])])
    (bar,) = (one for one in elements(svg, "line") if one.get("class") == "p-chopin")
    # the axis is from 0 to 4, over 206 pixels
    assert float(bar.get("y1")) - float(bar.get("y2")) == pytest.approx(103)


def test_a_picture_is_in_bounds_and_has_both_grounds():
    """Nothing is drawn beside the card, which has a colour of its own."""
    curves = [
        Curve(player, [Point.of(float(x), [10.0 * x]) for x in (1, 10, 1000)])
        for player in STYLES
    ]
    axes = Axes("x", "y", is_x_log=True, is_y_log=True)
    svg = curves_chart("T & <T>", axes, [Panel("a", curves), Panel("b", curves)])
    (root,) = elements(svg, "svg")
    width, height = float(root.get("width")), float(root.get("height"))
    for element in elements(svg, "text"):
        assert 0 < float(element.get("x")) < width
        assert 0 < float(element.get("y")) < height
    assert "prefers-color-scheme:dark" in svg
    assert ">T &amp; &lt;T&gt;<" in svg


def test_the_same_figures_make_the_same_picture():
    """A new run changes a picture only where figures have changed."""
    rows = [Row("group"), Row("one", {"asyncpg": 1.5, "psycopg": 0.8})]
    assert ratios_chart("T", "n", rows) == ratios_chart("T", "n", rows)
    assert "one: 0.8 times psycopg" in ratios_chart("T", "n", rows)


def test_players_differ_by_mark_or_dash_and_not_by_colour_alone():
    """Whoever sees no colours can tell them apart."""
    looks = [(style.mark, style.dash) for style in STYLES.values()]
    assert len(set(looks)) == len(looks)


def contrast(colour, ground):
    """The ratio of luminances, as the web's guidelines define it."""

    def luminance(text):
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_every_colour_stands_out_from_both_grounds(style):
    """Three to one is what graphics need."""
    assert contrast(style.light, "#ffffff") > 3
    assert contrast(style.dark, "#0d1117") > 3


def test_ticks_are_round_and_within_the_limits():
    """One, two and five in each decade; from zero where steps are equal."""
    assert linear_ticks(50_000) == [0, 10_000, 20_000, 30_000, 40_000, 50_000]
    assert bounds([3.0, 47_000.0], is_log=False) == (0.0, 50_000.0)
    assert log_ticks(1, 20) == [1, 2, 5, 10, 20]
    assert bounds([0.9, 4.1], is_log=True) == (0.5, 5.0)
    assert bounds([88.0, 2e7], is_log=True) == (50.0, 2e7)
    scale = Scale(1.0, 100.0, 0.0, 200.0, is_log=True)
    assert scale(10.0) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("value", "label"),
    [(1.0, "1"), (1500, "1.5k"), (1e6, "1M"), (20, "20"), (100, "100")],
)
def test_labels_have_no_zeros_to_spare(value, label):
    """But those of whole numbers stay."""
    assert short(value) == label


# -- the report ---------------------------------------------------------------------


def test_every_figure_is_of_workloads_that_exist():
    """A pattern that is misspelt would draw nothing."""
    known = {*WORKLOADS, *POOL_WORKLOADS}
    for figure in FIGURES.values():
        names = {
            pattern.format(x) for pattern in figure.patterns.values() for x in figure.xs
        }
        assert names <= known


def directives():
    """Every word and argument in the template."""
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    return [line[1:].partition(" ")[::2] for line in lines if line.startswith("@")]


def test_the_template_asks_for_everything_that_there_is():
    """Each group of workloads has a table, each figure is shown, once.

    Memory and prices of values have directives of their own.
    """
    asked = directives()
    assert {word for word, _ in asked} == set(DIRECTIVES)
    assert len(set(asked)) == len(asked)
    assert {what for word, what in asked if word == "curve"} == set(FIGURES)
    groups = {one.group for one in (*WORKLOADS.values(), *POOL_WORKLOADS.values())}
    unlisted = {"pool, memory of idle connections"}
    assert {what for word, what in asked if word == "table"} == groups - unlisted


def test_a_report_is_made_of_any_part_of_the_workloads():
    """What was not measured is said; all pictures are named in the text."""
    slow = outcome("multi_1", chopin=[2.0], asyncpg=[1.0])
    slow.problems = ["multi_1: psycopg failed: Boom()"]
    more = [outcome(f"multi_{n}", chopin=[1.0], asyncpg=[n / 4]) for n in (5, 10)]
    found = raw(slow, *more)
    found["loops"] = {"asyncio": [slow, *more], "uvloop": more}
    report = Document([Run(found)], {"multi": "for all", "multi_1": "It sleeps."})
    text = report.render(TEMPLATE.read_text(encoding="utf-8"))
    assert "| multi_1 | 3.11, asyncio | asyncpg | 0.50x (0.50 - 0.50)" in text
    assert "It sleeps." in text
    assert "- multi_1: psycopg failed: Boom()" in text
    assert "Not measured in this run." in text
    assert set(re.findall(r"\(benchmarks/([^)]+)\)", text)) == set(report.plots)
    assert set(report.plots) == {
        "multi.svg",
        "throughput-one-connection.svg",
        "cpu-one-connection.svg",
        "answer-one-connection.svg",
    }
    assert "multi_10: 2.5 times asyncpg" in report.plots["cpu-one-connection.svg"]


def test_prices_of_single_values_are_no_rates():
    """What was measured of them in the same run is not on the page."""
    many = outcome("decode_int4", "decode", chopin=[1.0], asyncpg=[4.0])
    rates = outcome("multi_1", chopin=[1.0], asyncpg=[2.0])
    found = {**raw(), "loops": {"asyncio": [rates, many]}}
    text = Document([Run(found)], {}).render("@means\n@below\n@ratios one connection")
    assert "| serial reads | 2.00x" in text
    assert "decode" not in text


def report_of(*outcomes, **remarks):
    """A report of one run on one loop."""
    return Document([Run({**raw(), "loops": {"asyncio": list(outcomes)}})], remarks)


def test_a_mean_stands_beside_its_worst_row():
    """Of each rival, and of all groups together."""
    report = report_of(
        outcome("one", chopin=[1.0], asyncpg=[4.0], psycopg=[2.0]),
        outcome("two", chopin=[1.0], asyncpg=[1.0]),
    )
    text = report.render("@answer one connection\n@answer pools\n@verdict")
    assert (
        "| **2.00x** (1.00x) | **2.00x** (2.00x) | 0.50 | 1.00x asyncpg, `two`" in text
    )
    assert "| **all of them** | 2 | **2.00x** (1.00x) |" in text
    assert "Not measured in this run." in text
    assert "of 2 rows Chopin is ahead of the *best* other driver in 1, level" in text
    assert "in 1, behind in 0." in text
    assert list(report.plots) == ["answer-one-connection.svg"]


def test_a_row_that_is_behind_says_why_or_that_nobody_knows():
    """The worst is the first; one that may be chance is said to be so."""
    report = report_of(
        outcome("sure", chopin=[2.0, 2.0], asyncpg=[1.0, 1.0]),
        outcome("worse", chopin=[4.0, 4.0], asyncpg=[1.0, 1.0]),
        outcome("chance", chopin=[4.0, 1.0, 4.0], asyncpg=[1.0, 4.0, 3.0]),
        worse="It sleeps.",
    )
    lines = report.render("@below").splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| worse", "| sure", "| chance"]
    assert lines[0].endswith("| It sleeps. |")
    assert lines[1].endswith("| **Not explained.** |")
    assert lines[2].endswith("| The quartiles reach 1x: this run cannot tell. |")


def test_prices_have_a_table_and_a_list_of_what_is_dearer():
    """Both directions of a type in one row; what cannot be told is not divided by."""

    def price(name, chopin, asyncpg):
        samples = {"chopin": chopin, "asyncpg": asyncpg}
        return Outcome(
            *(name, name.partition("_")[0], "ns", 1),
            {who: [TypeSample(1.0, 1.0, each, 9.0)] for who, each in samples.items()},
        )

    report = report_of(
        price("decode_int4", 10.0, 20.0),
        price("encode_int4", 30.0, 15.0),
        price("decode_bool", -0.5, 4.0),
    )
    text = report.render("@types")
    assert "best of the others: `encode_int4` (0.50x asyncpg)." in text
    assert (
        "| int4 | 10.0 | 20.0 | - | 2.00x | - | 30.0 | 15.0 | - | 0.50x | - |" in text
    )
    assert "| bool | < 1 | 4.00 | - | - | - | - |" in text
    assert "decode_int4: 2 times asyncpg" in report.plots["prices.svg"]


def test_a_machine_that_was_busy_is_said_to_have_been():
    """And a short run to be short."""
    run = raw()
    assert "It was busy" not in Document([Run(run)], {}).render("@machine")
    run["machine"]["load"] = [1.5, 0, 0]
    run["arguments"] = ["all", "--quick"]
    text = Document([Run(run)], {}).render("@machine")
    assert "It was busy when this began: load 1.5 on 2 cores." in text
    assert "A short run" in text


@pytest.mark.parametrize(
    ("turns", "text"),
    [(1.0, "1"), (2.0, "2"), (0.5, "0.5"), (0.0001, "1/10k"), (0.0, "0")],
)
def test_round_trips_of_a_row_are_not_rounded_away(turns, text):
    """So many rows share one."""
    one = outcome(chopin=[1.0])
    one.traffic = {"chopin": Traffic(turns, 0.0, 0.0)}
    assert trips_cell(one, "chopin") == text


def test_an_unknown_directive_is_an_error():
    """A typing error must not leave a hole."""
    with pytest.raises(BenchError, match="unknown directive: @tabel x"):
        Document([], {}).render("@tabel x")
    with pytest.raises(BenchError, match="unknown figure: nothing"):
        Document([], {}).render("@curve nothing")


def test_the_command_writes_text_and_pictures(tmp_path, monkeypatch, capsys):
    """A result that is not there is one line."""
    path, out = tmp_path / "a.json", tmp_path / "docs" / "benchmarks.md"
    write_results(path, raw(outcome("multi_1", chopin=[1.0], asyncpg=[2.0])))
    monkeypatch.setattr("sys.argv", ["x", str(path), "--out", str(out)])
    assert document.main() == 0
    assert "**2.00x** asyncpg" in out.read_text(encoding="utf-8")
    assert (tmp_path / "docs" / "benchmarks" / "multi.svg").exists()
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path / "none.json")])
    assert document.main() == 2
    assert "none.json" in capsys.readouterr().err


def test_remarks_are_lines_with_a_name():
    """Comments say nothing."""
    assert read_remarks("# a: b\n\njoins: they join: so\n") == {
        "joins": "they join: so"
    }


def test_a_curve_has_the_points_that_were_measured():
    """Whoever was left out of a row lacks that point."""
    results = {
        "asyncio": {
            "joins_0": outcome("joins_0", chopin=[1.0], asyncpg=[1.0]),
            "joins_5": outcome("joins_5", chopin=[1.0]),
        }
    }
    svg = draw(FIGURES["joins"], results)
    hints = [element.text for element in elements(svg, "title")]
    assert sorted(hints) == ["asyncpg, 0: 10k", "chopin, 0: 10k", "chopin, 5: 10k"]
    assert draw(FIGURES["joins"], {"asyncio": {}}) is None


# -- pgbench ------------------------------------------------------------------------

ANSWER = """number of transactions per client: 100
number of transactions actually processed: 200/200
latency average = 0.031 ms
initial connection time = 1.2 ms
tps = 31996.16 (without initial connection time)
"""


def test_pgbench_answers_with_its_own_clock():
    """And with how many transactions there were."""
    assert read_answer(ANSWER) == (31996.16, 200)


@pytest.mark.parametrize("text", ["", ANSWER.replace("200/200", "150/200")])
def test_pgbench_that_did_not_finish_is_not_believed(text):
    """A client that was aborted would make it look fast."""
    with pytest.raises(YardstickError, match="unexpected answer"):
        read_answer(text)


def test_every_script_has_the_statements_of_its_workload():
    """As many as a request has queries, with variables for parameters."""
    for count in (1, 20):
        lines = WORKLOADS[f"multi_{count}"].pgbench.splitlines()
        assert len([line for line in lines if line.startswith("SELECT")]) == count
    assert "$" not in "".join(
        one.pgbench
        for one in itertools.chain(WORKLOADS.values(), POOL_WORKLOADS.values())
    )
