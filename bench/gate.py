"""``python -m bench.gate``: has anything become slower? Counted, not timed.

Counts the instructions that each workload of `bench.gatework` takes, and compares
them with those in ``bench/baseline.json``. A count does not depend on what else the
machine does: the same build gives the same number each time, to the instruction. What
it does depend on is the interpreter and the compiler, so there is one baseline for
each, and no verdict without. To compare two states of the sources anywhere:

    python -m bench.gate --update --baseline /tmp/before.json     (in the one)
    python -m bench.gate --baseline /tmp/before.json              (in the other)

Exit status: 0 nothing is slower; 1 something is; 2 wrong usage; 3 cannot tell, because
valgrind or the baseline is missing.
"""

import argparse
import fnmatch
import functools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.gatework import WORKS
from bench.report import Table
from bench.words import BenchError

ROOT = Path(__file__).parent.parent
BASELINE = Path(__file__).with_name("baseline.json")
THRESHOLD = 3.0
LIMIT_S = 1200
# Where things lie in memory changes with every change of the sources, and with it how
# often the interpreter's method cache misses: up to 3 % of a single query, much less of
# all else. What differs by a third of the threshold is counted in several layouts, and
# the median judges.
SEEDS = (0, 1, 2)
SUSPICIOUS = 1 / 3
SLOWER, CANNOT_TELL = 1, 3

Counts = dict[str, list[float]]


class CannotTellError(BenchError):
    """There is nothing to count with, or nothing to compare with."""


# -- counting ------------------------------------------------------------------------


def valgrind() -> str:
    """Where the tool is. Raises CannotTellError with what to do."""
    found = shutil.which("valgrind")
    if found is None:
        raise CannotTellError(
            "valgrind is not installed: apt-get install valgrind (Debian, Ubuntu), "
            "dnf install valgrind (Fedora)"
        )
    return found


def child(names: Sequence[str], jobs: int) -> list[str]:
    """The command that runs these workloads."""
    return [sys.executable, "-S", "-m", "bench.gatework", str(jobs), *names]


def environment(seed: int) -> dict[str, str]:
    """All that the child knows of its environment, which lies in its memory too."""
    return {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def run_child(command: Sequence[str], seed: int, folder: str) -> str:
    """Run it, and return what it has printed."""
    try:
        done = subprocess.run(
            command,
            env=environment(seed),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"it takes longer than {LIMIT_S} s: name workloads") from None
    if done.returncode:
        raise BenchError(f"the workloads failed:\n{done.stderr[-2000:]}")
    return done.stdout


def count(names: Sequence[str], seed: int, jobs: int) -> dict[str, float]:
    """Instructions for each operation of these workloads."""
    tool = valgrind()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            tool,
            "--tool=callgrind",
            "--dump-before=getpriority",
            f"--callgrind-out-file={folder}/%p",
            *child(names, jobs),
        ]
        said = run_child(command, seed, folder)
        pids = dict(line.split() for line in said.splitlines())
        return {name: per_operation(name, Path(folder, pids[name])) for name in names}


def per_operation(name: str, dump: Path) -> float:
    """From the dumps that were written at the marks of one workload.

    The second dump has what lies between the first two marks, N runs, the fourth 2N.
    """
    once, twice = (total(dump.with_name(f"{dump.name}.{part}")) for part in (2, 4))
    work = WORKS[name]
    return (twice - once) / (work.times * work.per)


def total(dump: Path) -> int:
    """The instructions of one dump."""
    for line in dump.read_text(encoding="utf-8").splitlines():
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise BenchError(f"{dump.name}: no totals in what valgrind has written")


def warm_up(names: Sequence[str]) -> None:
    """Run everything once, so that errors come soon and all is compiled."""
    with tempfile.TemporaryDirectory() as folder:
        run_child(child(names, 1), SEEDS[0], folder)


# -- comparing -----------------------------------------------------------------------


def build() -> str:
    """What counts depend on beside the sources: one baseline for each of these."""
    libc = "-".join(platform.libc_ver())
    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.python_compiler()}, {libc}, {platform.machine()}"
    )


@dataclass(frozen=True)
class Verdict:
    """One workload: counted now, and in the baseline where it is in there."""

    name: str
    now: float
    before: float | None

    @property
    def change(self) -> float:
        """In percent; more is slower."""
        return (self.now / self.before - 1) * 100 if self.before else 0.0

    def word(self, threshold: float) -> str:
        """What is to be said of it."""
        if self.before is None:
            return "new"
        if self.change > threshold:
            return "SLOWER"
        return "faster" if self.change < -threshold else ""


def compare(now: Mapping[str, Sequence[float]], before: Counts) -> list[Verdict]:
    """Of equal layouts, those that were counted now."""
    return [
        Verdict(
            name,
            statistics.median(counts),
            statistics.median(before[name][: len(counts)]) if name in before else None,
        )
        for name, counts in now.items()
    ]


def suspects(verdicts: Iterable[Verdict], percent: float) -> list[str]:
    """What seems to have changed by more than so much, either way."""
    return [one.name for one in verdicts if abs(one.change) > percent]


def table(verdicts: Iterable[Verdict], threshold: float) -> Table:
    """For people."""
    rows = [
        [
            one.name,
            WORKS[one.name].what,
            f"{one.now:,.0f}",
            "" if one.before is None else f"{one.before:,.0f}",
            "" if one.before is None else f"{one.change:+.2f} %",
            one.word(threshold),
        ]
        for one in verdicts
    ]
    return Table(["workload", "instructions for one", "now", "before", "", ""], rows)


def read_baseline(path: Path) -> dict[str, Counts]:
    """Counts by build and workload; none where there is no file."""
    try:
        found: dict[str, Counts] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BenchError(f"{path} is no baseline: {error}") from None
    return found


# -- the command ---------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m bench.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("works", nargs="*", help="names or patterns (pool_*); all if none")
    add("--list", action="store_true", help="print the names of the workloads")
    add("--update", action="store_true", help="write what is counted as the baseline")
    add("--baseline", type=Path, default=BASELINE, metavar="FILE")
    add("--threshold", type=float, default=THRESHOLD, help="in percent (3)")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="workloads at a time")
    add("--markdown", action="store_true", help="print a Markdown table")
    return result


def chosen(patterns: Sequence[str]) -> list[str]:
    """The workloads that are meant."""
    names = [
        name
        for name in WORKS
        if not patterns or any(fnmatch.fnmatch(name, one) for one in patterns)
    ]
    if not names:
        raise BenchError(f"no workload is named {' or '.join(patterns)}: see --list")
    return names


def update(options: argparse.Namespace, names: Sequence[str]) -> int:
    """Count in every layout and write it down."""
    baseline = read_baseline(options.baseline)
    entry = baseline.setdefault(build(), {})
    counted = [count(names, seed, options.jobs) for seed in SEEDS]
    for name in names:
        entry[name] = [round(counts[name], 1) for counts in counted]
    text = json.dumps(baseline, indent=1, sort_keys=True)
    options.baseline.write_text(text + "\n", encoding="utf-8")
    print(f"{len(names)} workloads written to {options.baseline} for {build()}")
    return 0


def judge(options: argparse.Namespace, names: Sequence[str]) -> int:
    """Count, compare, and count what seems to have changed in other layouts too."""
    before = read_baseline(options.baseline).get(build())
    if before is None:
        raise CannotTellError(
            f"{options.baseline} has no counts for {build()}: make some from sources "
            "that you trust with --update --baseline FILE"
        )
    first = count(names, SEEDS[0], options.jobs)
    now = {name: [counted] for name, counted in first.items()}
    again = suspects(compare(now, before), options.threshold * SUSPICIOUS)
    for seed in SEEDS[1:] if again else ():
        for name, counted in count(again, seed, options.jobs).items():
            now[name].append(counted)
    verdicts = compare(now, before)
    print(table(verdicts, options.threshold).render(options.markdown))
    words = {one.word(options.threshold) for one in verdicts}
    if words & {"faster", "new"}:
        print("\n--update keeps what is better, or new")
    if "SLOWER" not in words:
        return 0
    print(f"\nslower by more than {options.threshold:g} %", file=sys.stderr)
    return SLOWER


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; errors that the user can mend are one line."""
    options = parser().parse_args(arguments)
    say = functools.partial(print, file=sys.stderr)
    try:
        names = chosen(options.works)
        if options.list:
            print("\n".join(f"{name:18} {WORKS[name].what}" for name in names))
            return 0
        valgrind()
        warm_up(names)
        return (update if options.update else judge)(options, names)
    except CannotTellError as error:
        say(f"gate: {error}")
        return CANNOT_TELL
    except BenchError as error:
        say(f"gate: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
