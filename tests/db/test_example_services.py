"""The example services over HTTP: what they answer, under load, and how they end.

Each is run by its command. What a test waits for, it looks for in the service's own
statistics or in the table of processes.
"""

import contextlib
import functools
import importlib.util
import json
import random
import signal
import time
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

import pytest

from chopin.testing import TemporaryServer
from tests.support.program import LIMIT_S, ROOT, Program

pytestmark = pytest.mark.slow


def needing(name, *modules):
    """An example; what its tests need is the extra `examples`."""
    missing = [each for each in modules if importlib.util.find_spec(each) is None]
    reason = f"{name} needs {' and '.join(missing)}: pip install chopin[examples]"
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=reason))


SERVICES = [
    needing("aiohttp_service.py", "aiohttp"),
    needing("fastapi_service.py", "fastapi", "uvicorn"),
]
POOL_SIZE = 10
SLOW = "/report?lasts=3600&limit=3600"
RICH, PRICE = 500_000, 2_500
WRONG = (400, 422)  # FastAPI finds the second where JSON has the wrong shape


class Service(Program):
    """An example service; whoever asks it waits until it is ready."""

    def __init__(self, name, *args, errors):
        # Not ours, and new ones come with new versions of the frameworks.
        imports = ("-W", "ignore::DeprecationWarning")
        path = ROOT / "examples" / name
        self._clients = []
        super().__init__(*imports, path, *args, "--port", "0", errors=errors)

    def __exit__(self, *error):
        for each in self._clients:
            each.close()
        super().__exit__(*error)

    @functools.cached_property
    def address(self):
        """Where it is; it says so when it is ready."""
        return self.line().removeprefix("http://")

    def begin(self, path, body=None):
        """Send a request; the connection on which its answer will come."""
        connection = HTTPConnection(self.address, timeout=LIMIT_S)
        self._clients.append(connection)
        if body is None:
            connection.request("GET", path)
        else:
            data = body if isinstance(body, str) else json.dumps(body)
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, data.encode(), headers)
        return connection

    def ask(self, path, body=None):
        """Status and data of an answer."""
        return answer(self.begin(path, body))

    def balance(self, name):
        """What a guest has."""
        return self.ask(f"/guests/{name}")[1]["balance"]

    def until(self, holds):
        """Ask for the statistics until they are as expected."""
        deadline = time.monotonic() + LIMIT_S
        while not holds(stats := self.ask("/stats")[1]):
            assert time.monotonic() < deadline, stats
        return stats

    def stop(self, number=signal.SIGTERM):
        """End it; its exit status."""
        self._deadline = time.monotonic() + LIMIT_S
        self.signal(number)
        status, _ = self.end()
        return status

    def complaints(self):
        """What it has written to standard error but for remarks on its speed."""
        lines = self.errors.splitlines()
        return [line for line in lines if not line.startswith("Executing <")]


def answer(connection):
    """Status and data of the answer to a request."""
    response = connection.getresponse()
    data = json.loads(response.read())
    connection.close()
    return response.status, data


def is_quiet(stats):
    """Nobody uses or waits for a connection."""
    return stats["idle"] == stats["size"] and not stats["waiting"]


def descendants(pid):
    """The processes that a process has started, and so on; by their id, their name."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = path.read_text("utf-8").rpartition(")")
        except OSError:  # it has just ended
            continue
        number, _, name = before.partition(" (")
        children.setdefault(int(after.split()[1]), {})[int(number)] = name
    found, new = {}, children.get(pid, {})
    while new:
        found |= new
        new = {p: n for parent in new for p, n in children.get(parent, {}).items()}
    return found


@pytest.fixture(scope="module", params=SERVICES)
def service(request, tmp_path_factory):
    """A service on its private server, for all tests that leave it as it was."""
    errors = tmp_path_factory.mktemp("service") / "errors"
    with Service(request.param, errors=errors) as service:
        yield service
        assert service.stop() == 0
        assert service.complaints() == []


@pytest.fixture(params=SERVICES)
def start(request, tmp_path):
    """A function that starts a service of the test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda *args: stack.enter_context(
            Service(request.param, *args, errors=tmp_path / "errors")
        )


# What it answers.


def test_reads(service):
    """A list, and one row by its key."""
    status, concerts = service.ask("/concerts")
    assert status == 200
    assert concerts[1] == {
        "id": 2,
        "title": "Préludes",
        "day": "2027-03-01",
        "price": 3000,
    }
    assert service.ask("/guests/Jane") == (200, {"name": "Jane", "balance": 2000})


def test_books_a_seat(service):
    """A seat is booked once, and the guest has paid for it."""
    before = service.balance("George")
    wanted = {"concert": 1, "seat": 1, "guest": "George"}
    got = {"seat": 1, "price": PRICE, "balance": before - PRICE}
    assert service.ask("/bookings", wanted) == (201, got)
    taken = (409, {"detail": "the seat is taken"})
    assert service.ask("/bookings", wanted) == taken
    assert service.ask("/bookings", wanted | {"guest": "Clara"}) == taken
    assert service.balance("George") == before - PRICE


def test_booking_without_money_is_undone(service):
    """Who cannot pay has not got the seat: the next one gets it."""
    wanted = {"concert": 2, "seat": 1, "guest": "Jane"}
    poor = (409, {"detail": "there is not enough money"})
    assert service.ask("/bookings", wanted) == poor
    assert service.balance("Jane") == 2000
    status, _ = service.ask("/bookings", wanted | {"guest": "George"})
    assert status == 201


def test_transfers_money(service):
    """Both balances change, or none."""
    clara, franz = service.balance("Clara"), service.balance("Franz")
    there = {"payer": "Clara", "payee": "Franz", "amount": 100}
    left = {"Clara": clara - 100, "Franz": franz + 100}
    assert service.ask("/transfers", there) == (200, left)
    for payer in ("Clara", "Franz"):
        to_nobody = {"payer": payer, "payee": "Dora", "amount": 100}
        status, _ = service.ask("/transfers", to_nobody)
        assert status == 404
        too_much = {"payer": payer, "payee": "Jane", "amount": 2 * RICH}
        status, _ = service.ask("/transfers", too_much)
        assert status == 409
    assert service.balance("Clara") == clara - 100
    assert service.balance("Franz") == franz + 100
    assert service.balance("Jane") == 2000


def test_explains_what_is_wrong(service):
    """Nothing that a client sends is an error of the service."""
    booking = {"concert": 1, "seat": 100, "guest": "Clara"}
    transfer = {"payer": "Clara", "payee": "Franz", "amount": 1}
    wrong = [
        (404, "/nowhere", None),
        (404, "/guests/Dora", None),
        (400, "/guests/%00", None),
        (404, "/bookings", booking | {"concert": 9}),
        (404, "/bookings", booking | {"guest": "Dora"}),
        (400, "/bookings", booking | {"seat": 1 << 40}),
        (WRONG, "/bookings", booking | {"seat": "front"}),
        (WRONG, "/bookings", {"concert": 1, "seat": 100}),
        (WRONG, "/bookings", [1, 100, "Clara"]),
        (WRONG, "/bookings", "{"),
        (WRONG, "/transfers", transfer | {"amount": -1}),
        (WRONG, "/report?lasts=nan", None),
        (504, "/report?lasts=60&limit=0.05", None),
    ]
    for status, path, body in wrong:
        got, data = service.ask(path, body)
        assert got in (status if status is WRONG else (status,)), (path, body, got)
        assert data["detail"]
    assert service.until(is_quiet)["closed"] == 0


# Many clients.


def test_200_at_once(service):
    """Everybody is served; one of 20 gets the seat; no money is made or lost."""
    names = ("Clara", "Franz", "George")
    before = {name: service.balance(name) for name in names}
    seats = [
        ("/bookings", {"concert": 3, "seat": seat, "guest": "Clara"})
        for seat in [*range(1, 41), *[41] * 20]
    ]
    moves = [
        ("/transfers", {"payer": payer, "payee": payee, "amount": 10})
        for payer, payee in [("Franz", "George"), ("George", "Franz")] * 10
    ]
    reads = [("/concerts", None), ("/guests/Jane", None), ("/report?lasts=0", None)]
    requests = [*seats, *moves, *reads * 40]
    assert len(requests) == 200
    random.Random(1810).shuffle(requests)
    sent = [(path, service.begin(path, body)) for path, body in requests]
    got = Counter((path.partition("?")[0], answer(each)[0]) for path, each in sent)
    moved, given_up = got["/transfers", 200], got.pop(("/transfers", 503), 0)
    assert moved + given_up == len(moves)
    assert got == {
        ("/bookings", 201): 41,
        ("/bookings", 409): 19,
        ("/transfers", 200): moved,
        ("/concerts", 200): 40,
        ("/guests/Jane", 200): 40,
        ("/report", 200): 40,
    }
    after = {name: service.balance(name) for name in names}
    assert before["Clara"] - after["Clara"] == 41 * 1000
    assert sum(before.values()) - sum(after.values()) == 41 * 1000
    assert service.until(is_quiet)["size"] <= POOL_SIZE


def test_clients_that_hang_up_leave_no_query(service):
    """Connections come back at once, in working order, without waiting for an end."""
    opened = service.until(is_quiet)["opened"]
    for _ in range(3):
        gone = [service.begin(SLOW) for _ in range(POOL_SIZE)]
        service.until(lambda stats: stats["size"] - stats["idle"] == POOL_SIZE)
        waiting = [service.begin(SLOW) for _ in range(POOL_SIZE)]
        service.until(lambda stats: stats["waiting"] == POOL_SIZE)
        for each in [*gone, *waiting]:
            each.close()
        service.until(is_quiet)
    stats = service.until(is_quiet)
    assert stats["opened"] - opened <= POOL_SIZE
    assert stats["closed"] == 0
    assert service.ask("/guests/Jane")[0] == 200


# The end.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_finishes_what_it_has_begun(start, number):
    """A request that is running is answered; then nothing is left of the service."""
    service = start()
    running = service.begin("/report?lasts=0.5")
    service.until(lambda stats: stats["shared"] == 1)
    left = descendants(service.pid)
    assert "postgres" in left.values()
    status = service.stop(number)
    assert answer(running)[0] == 200
    assert status == 0
    assert service.complaints() == []
    assert descendants(service.pid) == {}
    assert [pid for pid in left if Path(f"/proc/{pid}").exists()] == []


def test_on_a_server_that_is_full_and_then_gone(start):
    """It says that it cannot, as long as it cannot, and then goes on by itself."""
    with TemporaryServer() as server:
        service = start(server.dsn, "--wait", "0.5")
        slow = []
        while len(slow) < POOL_SIZE:
            slow.append(service.begin(SLOW))
            service.until(lambda stats: stats["shared"] == len(slow))
        busy = (503, {"detail": "all connections are busy"})
        assert service.ask("/guests/Clara") == busy
        move = {"payer": "Clara", "payee": "Franz", "amount": 1}
        assert service.ask("/transfers", move) == busy
        for each in slow:
            each.close()
        service.until(is_quiet)
        assert service.ask("/guests/Clara")[0] == 200

        server.kill()
        assert service.ask("/guests/Clara")[0] == 503
        server.start()
        service.until(lambda stats: service.ask("/guests/Clara")[0] == 200)
        assert service.stop() == 0
        assert service.complaints() == []
        clients = "FROM pg_stat_activity WHERE backend_type = 'client backend'"
        assert server.psql(f"SELECT count(*) {clients}") == "1"  # psql itself
