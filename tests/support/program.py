"""A Python program under test: what it says, line by line, and how it ends.

Owns: `Program`, a child process in a session of its own.
Rules:

- Nothing waits longer than `LIMIT_S`, and nothing waits for a time to pass.
- A program's end is the end of its standard output: that of all of its processes. So a
  test that sees it has seen that nobody was left behind.
"""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

LIMIT_S = 60.0
ROOT = Path(__file__).parents[2]


class Program:
    """Runs Python with warnings as errors; as a context, it kills what is left of it.

    Args:
        args: the interpreter's: a file, for instance.
        errors: the file for its standard error.
        stdin: its standard input.
    """

    def __init__(self, *args, errors, stdin=subprocess.DEVNULL):
        self._errors = errors
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", *map(str, args)],
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._deadline = time.monotonic() + LIMIT_S
        self._said = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait(LIMIT_S)
        self._process.stdout.close()

    @property
    def errors(self):
        """What it has written to its standard error."""
        return self._errors.read_text("utf-8")

    def _read(self):
        """Read what there is; False at the end."""
        left = max(0.0, self._deadline - time.monotonic())
        if not select.select([self._process.stdout], [], [], left)[0]:
            raise TimeoutError(f"it said {self._said!r} and then nothing", self.errors)
        got = os.read(self._process.stdout.fileno(), 65536)
        self._said += got
        return bool(got)

    def line(self):
        """The next line, without its end."""
        while b"\n" not in self._said:
            if not self._read():
                raise EOFError(f"it said {self._said!r} and ended", self.errors)
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def lines(self, n):
        """The next n lines, sorted, since workers do not wait for each other."""
        return sorted(self.line() for _ in range(n))

    def signal(self, number):
        """Send a signal to the program alone."""
        os.kill(self.pid, number)

    def insist(self, number):
        """Send a signal until the end: of two that are sent at once one gets lost."""
        while not self._is_ended():
            self.signal(number)

    def _is_ended(self):
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"it does not end and has said {self._said!r}")
        output = self._process.stdout
        return bool(select.select([output], [], [], 0.01)[0]) and not self._read()

    def interrupt(self):
        """Send SIGINT to all of its processes, as a terminal does for Ctrl-C."""
        os.killpg(self.pid, signal.SIGINT)

    def end(self):
        """Wait for the end of all of its processes: its status, and its last lines."""
        while self._read():
            pass
        status = self._process.wait(LIMIT_S)
        lines, self._said = self._said.decode().splitlines(), b""
        return status, sorted(lines)
