"""pgbench, PostgreSQL's own client in C, with the same SQL: a yardstick, no rival.

Owns: finding it, running it, reading its answer.
Rules:
- It runs as another process and reads its own clock, without the time that connecting
  takes. Its random numbers are its own, from the same range.
- It is prepared (``-M prepared``) as all candidates are, but it is told the values as
  text, and it does not look at the rows.
- Its CPU is that of the process less that of a run of one transaction.
- It has no state to compare, and it is left out where it is not installed.

Source: PostgreSQL documentation, "pgbench".
"""

import asyncio
import importlib
import os
import re
import resource
import shutil
import tempfile
from pathlib import Path

PGBENCH = "pgbench"
RATE = re.compile(r"^tps = ([0-9.]+) \(without initial connection time\)", re.MULTILINE)
DONE = re.compile(
    r"^number of transactions actually processed: (\d+)/(\d+)", re.MULTILINE
)


class YardstickError(Exception):
    """pgbench failed, or did not do what it was told to."""


def find_pgbench() -> Path | None:
    """The newest pgbench beside a server, or the one on the PATH."""
    try:
        servers = importlib.import_module("chopin.testing").find_servers()
    except ImportError:
        servers = []
    for server in servers:
        if path := server.program(PGBENCH):
            return Path(path)
    on_path = shutil.which(PGBENCH)
    return Path(on_path) if on_path else None


def read_answer(text: str) -> tuple[float, int]:
    """Transactions in a second, and how many there were.

    Raises YardstickError for an answer that is not as expected.
    """
    rate, done = RATE.search(text), DONE.search(text)
    if rate is None or done is None or done[1] != done[2]:
        raise YardstickError(f"unexpected answer of pgbench: {text[-200:]!r}")
    return float(rate[1]), int(done[1])


class Pgbench:
    """One script for one or many clients."""

    def __init__(
        self, program: Path, dsn: str, search_path: str, script: str, clients: int = 1
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name, "script.sql")
        path.write_text(script, encoding="utf-8")
        self._command = [
            *(str(program), "--no-vacuum", "--protocol=prepared"),
            *(f"--file={path}", f"--client={clients}", f"--jobs={min(clients, 2)}"),
        ]
        self._dsn = dsn
        self._clients = clients
        path_option = search_path.replace(" ", "")
        self._environment = {
            **os.environ,
            "PGOPTIONS": f"-c search_path={path_option}",
        }
        self._idle_cpu: float | None = None

    async def run(self, count: int) -> tuple[float, float]:
        """Seconds that so many transactions take, and seconds of CPU.

        Raises YardstickError when it fails.
        """
        if self._idle_cpu is None:
            _, self._idle_cpu = await self._run(1)
        each = -(-count // self._clients)
        rate, cpu = await self._run(each)
        done = each * self._clients
        return count / rate, max(cpu - self._idle_cpu, 0.0) * count / done

    async def _run(self, each: int) -> tuple[float, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *(f"--transactions={each}", self._dsn),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, complaint = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise YardstickError(complaint.decode(errors="replace")[-300:])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rate, _ = read_answer(output.decode(errors="replace"))
        return rate, cpu

    def close(self) -> None:
        """Remove the script."""
        self._folder.cleanup()
