"""Where samples of perf were taken: in which part of the program and which function.

Owns: recording this process, and the table of places.
Rules:
- A sample belongs to who was running, not to whom it was for: what the interpreter does
  for us counts as the interpreter's. `bench.profilehot` tells the two apart by leaving
  layers out.
- Only this process is recorded. What the server does meanwhile is not in here.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import chopin
from bench.report import Table
from bench.words import BenchError

FREQUENCY = 4999
NAMED = 4  # functions of each place
STOP_S = 30.0

#: Place, pattern of the shared object, pattern of the function; the first that fits.
PLACES = (
    ("event loop: uvloop", r"^loop\.cpython", ""),
    ("event loop: tasks", r"_asyncio", ""),
    ("event loop: its calls", r"select\.|_socket\.|_contextvars", ""),
    ("interpreter: bytecode", r"libpython|python3", r"_PyEval_EvalFrame"),
    (
        "interpreter: memory",
        r"libpython|python3",
        r"alloc|[Ff]ree|dealloc|gc_|GC_|visit_|_traverse|subtract_refs|untrack",
    ),
    ("interpreter: objects and calls", r"libpython|python3", ""),
    ("interpreter: decimal, datetime", r"_decimal|_datetime|libmpdec", ""),
    ("C library", r"libc\.|libc-|libm\.|libm-|\[vdso\]", ""),
    ("kernel: network", r"kernel", r"tcp|ip_|sock|skb|net|loopback|unix|iov|copy_"),
    ("kernel: waiting and waking", r"kernel", r"sched|task|epoll|ep_|wake|spin|poll"),
    ("kernel: memory", r"kernel", r"page|fault|clear_|mem|vma|folio|lru|unmap"),
    ("kernel: the rest", r"kernel", ""),
)
OURS = "Chopin, compiled"
REST = "anything else"
# perf names shared objects without their folders
OUR_OBJECTS = {path.name for path in Path(chopin.__file__).parent.glob("*.so")}


@dataclass
class Place:
    """A part of the program, the share of all samples in it, and its functions."""

    name: str
    share: float = 0.0
    functions: dict[str, float] = field(default_factory=dict)

    def named(self) -> str:
        """The functions with the largest shares."""
        first = sorted(self.functions.items(), key=lambda item: -item[1])[:NAMED]
        return ", ".join(f"{name} {share:.1f}" for name, share in first if share >= 0.1)


def perf() -> str:
    """Where the tool is. Raises BenchError with what to do."""
    found = shutil.which("perf")
    if found is None:
        raise BenchError("perf is not installed: apt-get install linux-perf (Debian)")
    return found


@contextlib.contextmanager
def recorded() -> Iterator[list[Place]]:
    """Sample this process; the list is filled when the block has ended.

    The event is the CPU's clock and not its counters, which virtual machines lack.
    """
    places: list[Place] = []
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "perf.data"))
        with recording(data):
            yield places
        command = [perf(), "report", "-i", data, "--stdio", "-t", "\t"]
        shown = subprocess.run(
            [*command, "--percent-limit", "0", "--fields", "overhead,dso,symbol"],
            capture_output=True,
            text=True,
        )
    places += by_place(shown.stdout)
    if not places:
        raise BenchError(f"perf has seen nothing: {shown.stderr}")


@contextlib.contextmanager
def recording(data: str) -> Iterator[None]:
    """While perf writes samples to a file: it takes a while to begin, and says so."""
    asking, ask = os.pipe()
    answer, answering = os.pipe()
    command = [perf(), "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY)]
    command += ["-D", "-1", "--control", f"fd:{asking},{answering}"]
    recorder = subprocess.Popen(
        [*command, "-o", data, "-p", str(os.getpid())],
        stderr=subprocess.PIPE,
        pass_fds=(asking, answering),
    )
    try:
        os.close(answering)  # now the answer ends where perf does
        os.write(ask, b"enable\n")
        if not os.read(answer, 64):
            complaint = recorder.communicate(timeout=STOP_S)[1].decode()
            raise BenchError(f"perf does not record: {complaint}")
        yield
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.communicate(timeout=STOP_S)
        for end in (asking, ask, answer):
            os.close(end)


def by_place(report: str) -> list[Place]:
    """From perf's report: lines of share, shared object and function, apart by tabs."""
    names = [OURS, *(name for name, _, _ in PLACES), REST]
    places = {name: Place(name) for name in names}
    for line in report.splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        if line.startswith("#") or len(cells) != 3:
            continue
        share = float(cells[0].rstrip("%"))
        symbol = cells[2].partition("] ")[2] or cells[2]
        place = places[place_of(cells[1], symbol)]
        place.share += share
        name = readable(symbol, cells[1])
        place.functions[name] = place.functions.get(name, 0.0) + share
    return [place for place in places.values() if place.share]


def place_of(shared_object: str, symbol: str) -> str:
    """The name of the place that a function belongs to."""
    if shared_object.rpartition("/")[2] in OUR_OBJECTS:
        return OURS
    for name, in_object, in_symbol in PLACES:
        if re.search(in_object, shared_object) and re.search(in_symbol, symbol):
            return name
    return REST


def readable(symbol: str, shared_object: str) -> str:
    """A function as its source names it, Cython's in particular.

    Cython's names have a prefix, then package, module and class, each with its length
    in front, and at last the function, a method's or a Python function's with a number
    in front: ``__pyx_f_6chopin_5_rows_7RowPlan_decode_row``,
    ``__pyx_pw_6chopin_4_ops_3start_query``.
    """
    if not symbol.startswith("__pyx_"):
        return symbol
    rest = re.sub(r"^__pyx_[a-z]+_", "", symbol)
    parts: list[str] = []
    while found := re.match(r"(\d+)", rest):
        start = found.end()
        end = start + int(found[1])
        if rest[end : end + 1] != "_":
            rest = rest[start:]  # a number that is no length
            break
        parts.append(rest[start:end])
        rest = rest[end + 1 :]
    if not parts:
        parts = [shared_object.rpartition("/")[2].partition(".")[0]]
    elif len(parts) > 1:
        del parts[0]
    return ".".join([*parts, rest])


def places_table(found: Sequence[Place]) -> Table:
    """Where it runs."""
    rows = [
        [place.name, f"{place.share:.1f} %", place.named()]
        for place in sorted(found, key=lambda place: -place.share)
        if place.share >= 0.3
    ]
    return Table(["where", "samples", "most of it, in %"], rows)
