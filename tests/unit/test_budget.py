"""How pools and event loops share a number of connections."""

import contextlib
import sys
import threading
from functools import partial

import pytest

from chopin._budget import Budget, Limit
from chopin.exceptions import InterfaceError
from tests.support.fakes import Clock

PATIENCE_S = 10
ROUNDS = 1500


class Spender:
    """Counts how often it was asked for a connection, and told to look for room."""

    def __init__(self, idle_count=0):
        self.idle_count = idle_count
        self.asked = 0
        self.told = 0

    def yield_soon(self):
        self.asked += 1

    def retry_soon(self):
        self.told += 1


def spenders(*counts, budget):
    """One spender for each count, with so many connections."""
    made = [Spender() for _ in counts]
    for spender, count in zip(made, counts, strict=True):
        for _ in range(count):
            assert budget.claim(spender)
    return made


def hungry(budget):
    """One more spender, which has got nothing."""
    spender = Spender()
    assert not budget.claim(spender)
    return spender


# The number


@pytest.mark.parametrize("value", [0, -1, True, 2.5, "5", None])
@pytest.mark.parametrize(
    "call",
    [
        Budget,
        Budget(5).part,
        Budget(5).resize,
        lambda value: Budget(5, {("app", "web"): Limit(value)}),
        lambda value: Budget(5, {("app", "web"): (value, 0, 0)}),
    ],
    ids=["budget", "part", "resize", "limit", "tuple"],
)
def test_makes_no_sense(call, value):
    """A number of connections is a whole one above zero, wherever it is said."""
    with pytest.raises(InterfaceError) as info:
        call(value)
    text = f"max_size is expected to be greater than zero, got {value!r}"
    assert str(info.value) == text


def test_refused_number_changes_nothing():
    """It stays as it was."""
    budget = Budget(5)
    with pytest.raises(InterfaceError):
        budget.resize(0)
    assert budget.max_size == 5


def test_claims_up_to_the_maximum():
    """And what is given back can be claimed again, by anybody."""
    budget = Budget(3)
    one, two = spenders(1, 2, budget=budget)
    assert budget.used == 3
    assert not budget.claim(one)
    assert budget.used == 3
    budget.unclaim(two)
    assert budget.used == 2
    assert budget.claim(one)
    assert not budget.claim(two)
    assert budget.used == 3


# Who is asked and who is told


def test_who_has_most_is_asked():
    """And nobody else."""
    budget = Budget(6)
    poor, rich, other = spenders(1, 3, 2, budget=budget)
    hungry(budget)
    assert (poor.asked, rich.asked, other.asked) == (0, 1, 0)


def test_who_has_something_idle_is_asked_first():
    """And of those, who has most."""
    budget = Budget(9)
    busy, idle, other = spenders(5, 3, 1, budget=budget)
    idle.idle_count, other.idle_count = 1, 1
    hungry(budget)
    assert (busy.asked, idle.asked, other.asked) == (0, 1, 0)
    idle.idle_count = 0
    hungry(budget)
    assert (busy.asked, idle.asked, other.asked) == (0, 1, 1)


def test_nobody_is_asked_to_make_room_for_himself():
    """Not even who has most of all."""
    budget = Budget(3)
    rich, poor = spenders(2, 1, budget=budget)
    assert not budget.claim(rich)
    assert (rich.asked, poor.asked) == (0, 1)


def test_who_has_nothing_is_not_asked():
    """One has all, and the others wait."""
    budget = Budget(1)
    (rich,) = spenders(1, budget=budget)
    others = [hungry(budget), hungry(budget)]
    assert not budget.claim(rich)
    assert [spender.asked for spender in others] == [0, 0]
    assert rich.asked == 2


def test_nobody_is_asked_where_there_is_room():
    """Or told."""
    budget = Budget(3)
    made = spenders(2, 1, budget=budget)
    budget.unclaim(made[0])
    assert budget.claim(made[1])
    assert [(spender.asked, spender.told) for spender in made] == [(0, 0), (0, 0)]


def test_who_waits_is_told():
    """When somebody gives one back: all who wait, but not who has given it."""
    budget = Budget(2)
    one, two = spenders(1, 1, budget=budget)
    third = hungry(budget)
    assert not budget.claim(one)
    budget.unclaim(one)
    assert (one.told, two.told, third.told) == (0, 0, 1)
    budget.unclaim(two)
    assert (one.told, two.told, third.told) == (1, 0, 2)


def test_who_has_been_served_is_not_told():
    """It waits no longer."""
    budget = Budget(2)
    one, _ = spenders(1, 1, budget=budget)
    third = hungry(budget)
    budget.unclaim(one)
    assert budget.claim(third)
    told = third.told
    budget.unclaim(one)
    assert third.told == told


def test_who_does_not_wait_any_more_is_not_told():
    """It has said so."""
    budget = Budget(1)
    (one,) = spenders(1, budget=budget)
    gone, waits = hungry(budget), hungry(budget)
    budget.forget_hunger(gone)
    budget.forget_hunger(gone)
    budget.unclaim(one)
    assert (gone.told, waits.told) == (0, 1)


@pytest.mark.parametrize("max_size", [2, 4])
def test_told_when_the_number_changes(max_size):
    """Who waits may have one more, and who has too many give one up; each is told."""
    budget = Budget(3)
    made = spenders(1, 2, budget=budget)
    waits = hungry(budget)
    budget.resize(max_size)
    assert [spender.told for spender in (*made, waits)] == [1, 1, 1]
    assert budget.claim(waits) is (max_size == 4)
    assert not budget.claim(waits)


def test_there_may_be_fewer_than_there_are():
    """Nobody gets one until enough have been given back."""
    budget = Budget(4)
    (one,) = spenders(4, budget=budget)
    budget.resize(2)
    assert budget.used == 4
    for _ in range(2):
        assert not budget.claim(one)
        budget.unclaim(one)
    assert not budget.claim(one)
    budget.unclaim(one)
    assert budget.claim(one)
    assert budget.used == 2


# Connections in store


def test_store_takes_what_is_free():
    """As any other connection."""
    budget = Budget(2)
    (one,) = spenders(1, budget=budget)
    store = Spender()
    assert budget.claim(store, False)
    assert budget.used == 2
    budget.unclaim(one)
    assert budget.claim(store, is_needed=False)


def test_store_takes_nobodys_place():
    """Nobody is asked, and who wants to keep one in store does not wait for it."""
    budget = Budget(1)
    (one,) = spenders(1, budget=budget)
    one.idle_count = 1
    store = Spender()
    assert not budget.claim(store, False)
    assert one.asked == 0
    assert not budget.is_over_share(one)
    budget.unclaim(one)
    assert store.told == 0


def test_store_leaves_room_to_who_waits():
    """However much he has."""
    budget = Budget(3)
    (one,) = spenders(3, budget=budget)
    assert not budget.claim(one)
    budget.unclaim(one)
    assert not budget.claim(Spender(), False)
    # but he may have it for his own store
    assert budget.claim(one, False)
    assert budget.used == 3


# Who gets what becomes free


@pytest.fixture
def clock(monkeypatch):
    """The time of the budgets, which stands still."""
    clock = Clock()
    monkeypatch.setattr("chopin._budget.monotonic", clock)
    return clock


@pytest.mark.parametrize("first", [0, 1])
def test_who_has_less_is_first(clock, first):
    """Room is left to him, whoever has waited longer."""
    budget = Budget(5)
    *made, third = spenders(2, 1, 2, budget=budget)
    rich, poor = made
    for spender in (made[first], made[1 - first]):
        clock.now += 0.1
        assert not budget.claim(spender)
    budget.unclaim(third)
    asked = [spender.asked for spender in (rich, poor, third)]
    assert not budget.claim(rich)
    assert [spender.asked for spender in (rich, poor, third)] == asked
    assert budget.claim(poor)
    budget.unclaim(third)
    assert budget.claim(rich)


def test_who_has_waited_longer_is_first(clock):
    """Where both have as much, also when they ask again in another order."""
    budget = Budget(1)
    (one,) = spenders(1, budget=budget)
    first = hungry(budget)
    clock.now += 0.2
    second = hungry(budget)
    clock.now += 0.2
    assert not budget.claim(first)
    budget.unclaim(one)
    assert not budget.claim(second)
    assert not budget.claim(Spender())
    assert budget.claim(first)
    budget.unclaim(first)
    assert budget.claim(second)


def test_who_has_stopped_asking_is_passed_over(clock):
    """A loop that hangs does not hold up the others."""
    budget = Budget(1)
    (one,) = spenders(1, budget=budget)
    hungry(budget)
    clock.now += 0.2
    second = hungry(budget)
    budget.unclaim(one)
    assert not budget.claim(second)
    clock.now += 0.1
    assert budget.claim(second)


def test_room_of_the_whole_is_left_to_who_waits_for_it(clock):
    """Also by those of another part."""
    whole = Budget(3)
    one, two = whole.part(3), whole.part(3)
    (rich,) = spenders(3, budget=one)
    poor = hungry(two)
    one.unclaim(rich)
    assert not one.claim(rich)
    assert two.claim(poor)
    one.unclaim(rich)
    # it has asked before, and both have one
    assert one.claim(rich)


# Shares


@pytest.mark.parametrize(
    ("mine", "others", "waiting", "expected"),
    [
        (4, [2], 1, True),  # of 6, a third
        (2, [2, 2], 1, True),  # of 6, a fourth
        (3, [3], 0, False),  # nobody waits
        (3, [3], 1, True),
        (2, [4], 1, False),  # not above a third
        (0, [6], 1, False),
        (6, [], 1, True),
    ],
)
def test_share(mine, others, waiting, expected):
    """More than an equal part is too much only while somebody waits, who counts."""
    budget = Budget(6)
    me, *_ = spenders(mine, *others, budget=budget)
    for _ in range(waiting):
        hungry(budget)
    assert budget.is_over_share(me) is expected


def test_own_hunger_is_no_reason_to_give_up():
    """Only that of others."""
    budget = Budget(3)
    me, _ = spenders(2, 1, budget=budget)
    assert not budget.claim(me)
    assert not budget.is_over_share(me)


def test_share_of_the_whole():
    """A part that is not too much of its own budget may be of the one above."""
    whole = Budget(4)
    mine, theirs = whole.part(4), whole.part(4)
    (me,) = spenders(4, budget=mine)
    assert not mine.is_over_share(me)
    hungry(theirs)
    assert mine.is_over_share(me)


@pytest.mark.parametrize(
    ("counts", "max_size", "expected"),
    [
        ([4, 2], 6, [0, 0]),  # nothing is too much
        ([4, 2], 5, [2, 0]),
        ([4, 2], 4, [2, 0]),
        ([3, 3], 4, [1, 1]),
        ([4, 1, 1], 3, [3, 0, 0]),
        ([6], 2, [4]),
        ([6, 0], 2, [5, 0]),
    ],
)
def test_excess(counts, max_size, expected):
    """What is above an equal part, where there are more than there may be."""
    budget = Budget(6)
    made = spenders(*counts, budget=budget)
    for spender, count in zip(made, counts, strict=True):
        if not count:
            assert not budget.claim(spender)
    budget.resize(max_size)
    assert [budget.excess(spender) for spender in made] == expected


def test_excess_above():
    """The larger one counts, of a part and the whole."""
    whole = Budget(6)
    part = whole.part(6)
    (one,) = spenders(6, budget=part)
    part.resize(5)
    assert part.excess(one) == 1
    whole.resize(4)
    assert part.excess(one) == 2
    part.resize(3)
    assert part.excess(one) == 3
    assert part.excess(Spender()) == 0


# Budgets in budgets


def test_part_counts_above():
    """Each connection of a part is one of the whole, for as long as it is there."""
    whole = Budget(3)
    one, two = whole.part(2), whole.part(2)
    (first,) = spenders(2, budget=one)
    (second,) = spenders(1, budget=two)
    assert (one.used, two.used, whole.used) == (2, 1, 3)
    one.unclaim(first)
    assert (one.used, two.used, whole.used) == (1, 1, 2)
    assert two.claim(second)
    assert (one.used, two.used, whole.used) == (1, 2, 3)


@pytest.mark.parametrize("full", ["part", "middle", "whole"])
def test_refused_by_any(full):
    """What one of them refuses is counted in none."""
    sizes = dict.fromkeys(["part", "middle", "whole"], 5) | {full: 1}
    whole = Budget(sizes["whole"])
    middle = whole.part(sizes["middle"])
    part = middle.part(sizes["part"])
    (one,) = spenders(1, budget=part)
    hungry(part)
    assert [budget.used for budget in (part, middle, whole)] == [1, 1, 1]
    part.unclaim(one)
    assert [budget.used for budget in (part, middle, whole)] == [0, 0, 0]


def test_only_who_stands_in_the_way_is_asked():
    """Another part's connections do not matter to a part that is full."""
    whole = Budget(10)
    mine, theirs = whole.part(2), whole.part(5)
    (rich,) = spenders(5, budget=theirs)
    (other,) = spenders(2, budget=mine)
    waits = hungry(mine)
    assert (rich.asked, other.asked) == (0, 1)
    theirs.unclaim(rich)
    assert waits.told == 0
    mine.unclaim(other)
    assert waits.told == 1


def test_parts_make_room_for_each_other():
    """Where the whole is full, who has most of it is asked, and who waits is told."""
    whole = Budget(3)
    one, two = whole.part(3), whole.part(3)
    (rich,) = spenders(3, budget=one)
    waits = hungry(two)
    assert rich.asked == 1
    one.unclaim(rich)
    assert waits.told == 1
    assert two.claim(waits)
    one.unclaim(rich)
    assert waits.told == 1


# Limits of databases and users

LIMITS = {
    ("app", "web"): (1, 0, 0),
    ("all", "web"): Limit(2),
    ("app", "all"): (3, 2),
    ("all", "all"): (4,),
}


@pytest.mark.parametrize(
    ("missing", "database", "user", "expected"),
    [
        ([], "app", "web", Limit(1, 0, 0)),
        ([], "app", "cron", Limit(3, 2)),
        ([], "logs", "web", Limit(2)),
        ([], "logs", "cron", Limit(4)),
        ([("app", "web")], "app", "web", Limit(2)),
        ([("app", "web"), ("all", "web")], "app", "web", Limit(3, 2)),
        ([("app", "web"), ("all", "web"), ("app", "all")], "app", "web", Limit(4)),
        (LIMITS, "app", "web", None),
        ([("all", "all")], "logs", "cron", None),
    ],
)
def test_which_limit(missing, database, user, expected):
    """The nearest one counts; where there is none, the whole does."""
    limits = {key: value for key, value in LIMITS.items() if key not in missing}
    whole = Budget(9, limits)
    limit, budget = whole.limit_for(database, user)
    assert limit == expected
    if expected is None:
        assert budget is whole
    else:
        assert budget.max_size == expected.max_size
        assert whole.limit_for(database, user)[1] is budget


def test_limit_is_part_of_the_whole():
    """Those of a limit share it with each other, and the whole with everybody."""
    whole = Budget(3, {("app", "reports"): (2, 0, 0)})
    _, reports = whole.limit_for("app", "reports")
    pools = [reports.part(5), reports.part(5)]
    first, second = (spenders(1, budget=pool)[0] for pool in pools)
    assert not pools[0].claim(first)
    (web,) = spenders(1, budget=whole.part(5))
    assert whole.used == 3
    pools[1].unclaim(second)
    assert first.told == 1
    assert whole.claim(web)
    assert not pools[0].claim(first)
    assert web.asked == 1


# Leaving


def test_who_has_left_is_not_asked():
    """Nor told, nor counted among those who share."""
    whole = Budget(4)
    part = whole.part(4)
    (gone,) = spenders(3, budget=part)
    (me,) = spenders(1, budget=whole)
    waits = hungry(whole)
    assert gone.asked == 1
    assert not part.claim(gone)
    for _ in range(3):
        part.unclaim(gone)
    part.leave(gone)
    assert gone.told == 0
    for _ in range(3):
        assert whole.claim(waits)
    assert not whole.claim(me)
    assert gone.asked == 1
    whole.unclaim(waits)
    assert gone.told == 0
    assert me.told == 1


def test_those_who_stay_share_what_there_is():
    """An equal part is larger without who has left."""
    budget = Budget(6)
    me, gone = spenders(3, 3, budget=budget)
    waits = hungry(budget)
    assert budget.is_over_share(me)
    for _ in range(3):
        budget.unclaim(gone)
    budget.leave(gone)
    for _ in range(3):
        assert budget.claim(waits)
    assert not budget.claim(waits)
    assert not budget.is_over_share(me)


def test_connection_that_outlives_its_pool():
    """It is counted until it is given back, also by one who has left before."""
    whole = Budget(2)
    part = whole.part(2)
    (gone,) = spenders(2, budget=part)
    part.leave(gone)
    waits = hungry(whole)
    part.unclaim(gone)
    assert (part.used, whole.used) == (1, 1)
    assert waits.told == 1
    part.unclaim(gone)
    assert (part.used, whole.used) == (0, 0)
    part.leave(gone)


# Threads


class Ending:
    """Ends another one while it is being looked at, as a collection may do."""

    def __init__(self, budget, other):
        self.budget = budget
        self.other = other

    @property
    def idle_count(self):
        self.budget.unclaim(self.other)
        self.budget.leave(self.other)
        return 1

    def yield_soon(self):
        """Not at once."""


def test_given_back_by_a_finalizer():
    """It may come at any point of a call, counts behind it, and who waits is told."""
    whole = Budget(2)
    part = whole.part(1)
    (gone,) = spenders(1, budget=part)
    assert whole.claim(Ending(part, gone))
    waits = Spender()
    claim = threading.Thread(target=whole.claim, args=(waits,), daemon=True)
    claim.start()
    claim.join(PATIENCE_S)
    assert not claim.is_alive()
    assert (part.used, whole.used, waits.told) == (0, 1, 1)
    assert whole.claim(waits)


class Thrifty:
    """A thread that claims and gives back, and waits for its turn in between.

    Attributes:
        failure: why it has ended too early.
    """

    idle_count = 0

    def __init__(self, budget, ledger):
        self.budget = budget
        self.ledger = ledger
        self.room = threading.Event()
        self.failure = None

    def yield_soon(self):
        """It gives everything up at once in any case."""

    def retry_soon(self):
        self.room.set()

    def run(self, start):
        start.wait(PATIENCE_S)
        for _ in range(ROUNDS):
            self.room.clear()
            while not self.budget.claim(self):
                if not self.room.wait(PATIENCE_S):
                    self.failure = "it was never told that there is room"
                    return
                self.room.clear()
            with self.ledger.counted():
                pass
            self.budget.unclaim(self)


class Ledger:
    """How many connections there are by another count, and the most there were."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = 0

    @contextlib.contextmanager
    def counted(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        yield
        with self.lock:
            self.now -= 1


@pytest.fixture
def many_switches():
    """Threads take turns after each few instructions."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("max_size", [1, 2])
def test_threads(many_switches, max_size):
    """Never more than there may be, none lost, and whoever waits is told."""
    whole, ledger = Budget(max_size), Ledger()
    parts = [whole.part(5), whole.part(5)]
    workers = [Thrifty(part, ledger) for part in (*parts, parts[0], whole)]
    start = threading.Barrier(len(workers))
    threads = [
        threading.Thread(target=partial(worker.run, start), daemon=True)
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6 * PATIENCE_S)
    assert [worker.failure for worker in workers] == [None] * len(workers)
    assert not any(thread.is_alive() for thread in threads)
    assert ledger.most <= max_size
    assert [budget.used for budget in (whole, *parts)] == [0, 0, 0]
    for worker, part in zip(workers, (*parts, parts[0], whole), strict=True):
        assert all(part.claim(worker) for _ in range(max_size))
        assert not part.claim(worker, is_needed=False)
        for _ in range(max_size):
            part.unclaim(worker)
