"""The benchmark of a whole service: what is asked, how answers are read and judged."""

import asyncio
import contextlib
import json
import random
import subprocess

import asyncpg
import pytest

from bench import service, serviceapps
from bench.service import Round, Service, check_changed, check_several, check_single
from bench.serviceload import CHECK_EVERY, Load, get, load, whole_body
from bench.words import BenchError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: y\r\n\r\nbody"


# -- answers -------------------------------------------------------------------------


@pytest.mark.parametrize("end", range(len(ANSWER)))
def test_answer_is_complete_or_not(end):
    """However it is cut."""
    assert whole_body(ANSWER[:end]) is None
    assert whole_body(ANSWER) == b"body"


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER.replace(b"200", b"500"),
        ANSWER.replace(b"Content-Length", b"Length"),
        ANSWER + b"more",
    ],
    ids=["status", "no length", "too long"],
)
def test_answer_that_is_none(answer):
    """The benchmark ends, and does not count it."""
    with pytest.raises(BenchError):
        whole_body(answer)


class Server(asyncio.Protocol):
    """Says the same to every request, or hangs up."""

    def __init__(self, answer):
        self._answer = answer

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        if self._answer:
            self._transport.write(self._answer)
        else:
            self._transport.close()


@contextlib.asynccontextmanager
async def serving(answer):
    """The port of a server that says the same to everybody."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(answer), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_load_asks_and_measures():
    """Every connection is used, and answers are looked at now and then."""
    seen = []
    async with serving(ANSWER) as port:
        done = await load(port, "/", 3, 0.05, seen.append)
        assert await get(port, "/") == b"body"
    assert len(done.latencies) >= 3
    assert set(seen) == {b"body"}
    assert 3 <= len(seen) <= 3 + len(done.latencies) // CHECK_EVERY
    assert all(0 < one <= done.seconds for one in done.latencies)


async def test_load_ends_with_a_wrong_answer():
    """At once, whatever the others do."""

    def check(body):
        raise BenchError("wrong")

    async with serving(ANSWER) as port:
        with pytest.raises(BenchError, match="wrong"):
            await load(port, "/", 3, 60, check)


async def test_load_ends_with_a_closed_connection():
    """It is not taken for an answer."""
    async with serving(b"") as port:
        with pytest.raises(BenchError, match="closed the connection"):
            await load(port, "/", 1, 60, check_single)


# -- checks --------------------------------------------------------------------------


def test_checks_know_the_table():
    """A row that is not in the table, a row twice, one too few: none passes."""
    right = {"id": 3, "randomNumber": 1 + 3 * 7919 % 10_000}
    other = {"id": 4, "randomNumber": 1 + 4 * 7919 % 10_000}
    check_single(json.dumps(right).encode())
    check_several(json.dumps([right, other]).encode(), 2)
    wrong = right | {"randomNumber": 5}
    check_changed(json.dumps([wrong, other]).encode(), 2)
    for bad in ([right, wrong], [right, right], [right], [other, {**right, "id": 0}]):
        with pytest.raises(BenchError):
            check_several(json.dumps(bad).encode(), 2)
    with pytest.raises(BenchError):
        check_changed(json.dumps([other, right | {"randomNumber": 0}]).encode(), 2)


def test_fortunes_are_sorted_and_escaped():
    """As TechEmpower wants it."""
    page = serviceapps.fortunes_page(service.FORTUNES)
    assert "&lt;script&gt;alert(&quot;" in page
    assert "<script>" not in page
    assert "フレームワークのベンチマーク" in page
    assert page.index("A bad random") < page.index("Additional fortune")
    assert page.count("<tr>") == 1 + 12 + 1
    service.check_fortunes(page.encode())
    with pytest.raises(BenchError):
        service.check_fortunes(page.replace("seniority", "juniority").encode())


@pytest.mark.parametrize(
    ("text", "count"),
    [("20", 20), ("0", 1), ("-1", 1), ("501", 500), ("x", 1), ("", 1), (None, 1)],
)
def test_count_is_from_1_to_500(text, count):
    """As TechEmpower wants it."""
    assert serviceapps.how_many(text) == count


# -- the apps ------------------------------------------------------------------------


class Table:
    """A database without one."""

    async def world(self, key):
        return key, 1 + key * 7919 % serviceapps.WORLDS

    async def worlds(self, keys):
        return [await self.world(key) for key in keys]

    async def fortunes(self):
        return service.FORTUNES

    async def update(self, keys, numbers):
        return [(key, 0) for key in keys]


async def call(app, path, query=""):
    """The body of an answer of an ASGI application."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    body = b"".join(message.get("body", b"") for message in sent[1:])
    assert dict(sent[0]["headers"])[b"content-length"] == b"%d" % len(body)
    return body


@pytest.mark.parametrize("name", serviceapps.APPS)
async def test_apps_answer_all_tests(name):
    """Both apps, from the same functions."""
    if name == "fastapi":
        pytest.importorskip("fastapi")
    app = serviceapps.with_clock(serviceapps.APPS[name](Table()))
    for test in service.TESTS:
        path, _, query = test.path.partition("?")
        test.check(await call(app, path, query))
    check_several(await call(app, "/queries", "queries=0"), 1)
    assert float(await call(app, "/cpu")) > 0


def test_placeholders_of_psycopg():
    """In the order of the parameters."""
    assert serviceapps.percent(serviceapps.UPDATE).count("%s") == 2
    assert "$" not in serviceapps.percent(serviceapps.UPDATE)


def test_keys_are_in_order_and_different():
    """Two updates at once then lock rows in one order."""
    keys = serviceapps.some_keys(500)
    assert keys == sorted(set(keys))
    assert len(keys) == 500


# -- the table -----------------------------------------------------------------------


def played(database, *rates):
    process = object.__new__(subprocess.Popen)
    process._child_created = False
    one = Service("asgi", database, process)
    one.rounds["single query"] = [Round(rate, 0.001, 0.002, 1 / rate) for rate in rates]
    return one


async def test_a_round_is_what_was_asked_and_what_it_took(monkeypatch):
    """Four answers in two seconds, and the CPU in between."""
    cpus = iter([b"1.0", b"3.0"])

    async def get_cpu(port, path):
        return next(cpus)

    async def load_little(*_):
        return Load(2.0, [0.1, 0.1, 0.1, 0.5])

    monkeypatch.setattr(service, "get", get_cpu)
    monkeypatch.setattr(service, "load", load_little)
    one = played("asyncpg")
    one.port = 1
    await service.play(one, service.TESTS[0], 3, 2.0)
    round_ = one.rounds[service.TESTS[0].name][-1]
    assert (round_.rate, round_.p50, round_.cpu) == (2.0, 0.1, 0.5)
    assert round_.p99 == pytest.approx(0.488)


def test_ratios_are_taken_within_rounds():
    """A round that is slow for all does not count against one of them."""
    services = [played("asyncpg", 100, 10), played("chopin", 200, 20)]
    random.Random(0).shuffle(services)
    table = service.table(services, "asgi")
    row = next(row for row in table.rows if row[0] == "chopin")
    assert row[1:] == ["110", "2.00", "1.00", "2.00", "27500", "0.50"]
    assert len(service.as_json(services)) == 2


def test_a_page_says_what_was_measured_and_with_which_versions():
    """One table for each kind of service, whoever its driver is."""
    services = [played("asyncpg", 100, 10), played("chopin", 200, 20)]
    options = service.parser().parse_args(["--rounds", "3", "--out", "x.md"])
    options.server = "18.4"
    text = service.report(services, {"cores": 2}, options, markdown=True)
    assert text.startswith("```\ncores: 2\n")
    assert f"\nasyncpg: {asyncpg.__version__}\n" in text
    assert "\nPostgreSQL: 18.4\n64 HTTP connections, pools of 10, 3 rounds of 2" in text
    assert "\n## asgi\n\n|  | requests/s |" in text
    assert service.version_of("chopin_tuned") == service.version_of("chopin")


def test_tests_are_chosen_by_path():
    """And all if none is named."""
    assert [test.name for test in service.chosen_tests(["fort"])] == ["fortunes"]
    assert service.chosen_tests([]) == list(service.TESTS)
    with pytest.raises(BenchError, match="none of"):
        service.listed("asyncpg,nobody", list(serviceapps.DATABASES))
