"""Files and processes of temporary servers: who owns them and how they go away.

Owns: `Account` (whom the server runs as), `Scratch` (a program's templates and copies),
`Guard` (the handle of a guard process, see `chopin._testing_guard`).

Imports: the standard library and `chopin._testing_binaries` (L6).

Rules:

- PostgreSQL refuses to run as root, so root gives its servers to another account and
  everything that the server must read to that account too.
- Whatever is made here lies in a directory that a guard removes when this program
  ends, however it ends. The same happens at a normal exit, in order.
- A child made by ``os.fork`` inherits these objects but must not act on them: what
  runs at exit compares process ids first.
"""

from __future__ import annotations

import atexit
import os
import pwd
import select
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from chopin._testing_binaries import ServerBinaries, TemporaryServerError

SUPERUSER = "postgres"
SERVER_ACCOUNTS = ("postgres", "nobody")
COMMAND_LIMIT_S = 120.0
GUARD_PROGRAM = Path(__file__).with_name("_testing_guard.py")
# sun_path holds 108 bytes on Linux, 104 elsewhere; a directory and this go in.
SOCKET_PATH_LIMIT = 103
LONGEST_SOCKET_NAME = "/chopin-pg-12345678/1000/.s.PGSQL.65535"

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Account:
    """The user that servers run as.

    Attributes:
        uid: its number, or None where it is the user that runs this program.
        gid: its group's number, or None likewise.
    """

    uid: int | None
    gid: int | None

    @staticmethod
    def for_servers() -> Account:
        """This program's own user, or for root the first of `SERVER_ACCOUNTS`."""
        if os.geteuid() != 0:
            return Account(None, None)
        for name in SERVER_ACCOUNTS:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return Account(entry.pw_uid, entry.pw_gid)
        raise TemporaryServerError(
            "PostgreSQL does not run as root and there is no other account"
            f" ({' or '.join(SERVER_ACCOUNTS)}): add one, or run as another user"
        )

    def own(self, path: Path) -> None:
        """Give the account a file or directory."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def can_enter(self, directory: Path) -> bool:
        """Whether the account may look up names in a directory, by its permissions."""
        if self.uid is None:
            return os.access(directory, os.X_OK)
        for path in (directory, *directory.parents):
            status = path.stat()
            if status.st_uid == self.uid:
                bit = stat.S_IXUSR
            elif status.st_gid == self.gid:
                bit = stat.S_IXGRP
            else:
                bit = stat.S_IXOTH
            if not status.st_mode & bit:
                return False
        return True

    def run(self, command: Command, directory: Path, text: str = "") -> str:
        """Run a program as the account and return what it prints.

        Args:
            command: program and arguments.
            directory: its working directory.
            text: its standard input.

        Raises:
            TemporaryServerError: it failed; the text is what it said.
        """
        extra_groups: list[int] | None = None if self.uid is None else []
        try:
            done = subprocess.run(
                list(command),
                cwd=directory,
                env=clean_environment(),
                user=self.uid,
                group=self.gid,
                extra_groups=extra_groups,
                input=text,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=COMMAND_LIMIT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise TemporaryServerError(f"cannot run {command[0]}: {error}") from error
        if done.returncode:
            raise TemporaryServerError(
                f"{Path(command[0]).name} ended with status {done.returncode}:"
                f" {done.stdout.strip()}"
            )
        return done.stdout


def clean_environment() -> dict[str, str]:
    """This program's environment without what changes a server or psql: PG*, LC_*..."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "USER", "HOME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return {**environment, "LC_ALL": "C", "TZ": "UTC"}


class Guard:
    """A process that ends a server and removes files when this program ends.

    Args:
        directory: what to remove.
        account: whom the server runs as.
        data: the server's data directory.
        log: the file that its output is added to.
        command: the server; without one the guard looks after the directory alone.
    """

    def __init__(
        self,
        directory: Path,
        account: Account | None = None,
        data: Path | None = None,
        log: Path | None = None,
        command: Command = (),
    ) -> None:
        arguments: list[str | Path] = [directory]
        if account and data and log:
            ids = [-1 if id_ is None else id_ for id_ in (account.uid, account.gid)]
            arguments += [*map(str, ids), data, log, *command]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", GUARD_PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=clean_environment(),
            start_new_session=True,  # Ctrl-C in a terminal is for the program alone
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._life_line = self._process.stdin
        self._output = self._process.stdout
        self.server_pid = 0
        if command:
            line = self._output.readline()
            if not line:
                self.wait(COMMAND_LIMIT_S)
                raise TemporaryServerError(f"{sys.executable} cannot run the guard")
            self.server_pid = int(line)

    @property
    def pid(self) -> int:
        """The guard's own process id."""
        return self._process.pid

    def wait(self, timeout: float) -> bool:
        """Wait until server and guard have ended.

        Args:
            timeout: seconds.

        Returns:
            Whether they have.
        """
        if self._process.returncode is not None:
            return True
        # The guard writes no more, so its output is readable when it ends. This wakes
        # at once, where Popen.wait with a time-out would look every 50 ms.
        if not select.select([self._output], [], [], timeout)[0]:
            return False
        self._process.wait()
        self._life_line.close()
        self._output.close()
        return True

    def release(self) -> None:
        """Cut the life line as the program's end would: everything goes."""
        self._life_line.close()
        self.wait(COMMAND_LIMIT_S)


class Scratch:
    """The guarded directory of one program: its servers, templates and copies."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._maker = 0
        self._home = Path()
        self._numbers = count(1)

    def home(self, account: Account) -> Path:
        """The directory, made on first use, and again by a forked child.

        Its path leaves room for a socket's; the account owns it.
        """
        with self._lock:
            if self._maker != os.getpid():
                self._home = _make_directory(account)
                self._maker = os.getpid()
                self._numbers = count(1)
                atexit.register(self._remove, self._maker, Guard(self._home))
            return self._home

    def new_directory(self, account: Account) -> Path:
        """A new directory for one server."""
        path = self.home(account) / str(next(self._numbers))
        path.mkdir(mode=0o700)
        account.own(path)
        return path

    def reachable(self, binaries: ServerBinaries, account: Account) -> Path:
        """The directory of the programs, copied if the account cannot enter it."""
        if account.can_enter(binaries.bindir):
            return binaries.bindir
        prefix = binaries.bindir.parent
        # Wheels keep shared libraries in NAME.libs beside the package NAME.
        package = prefix.parent
        libraries = package.with_name(package.name + ".libs")
        with self._lock:
            copy = self.home(account) / f"programs-{abs(hash(prefix))}"
            target = copy / package.name / prefix.name
            if not copy.exists():
                shutil.copytree(prefix, target, symlinks=True)
                if libraries.is_dir():
                    shutil.copytree(libraries, copy / libraries.name, symlinks=True)
                for path in (copy, *copy.rglob("*")):
                    if not path.is_symlink():
                        account.own(path)
        return target / binaries.bindir.name

    def new_cluster(self, bindir: Path, account: Account, target: Path) -> None:
        """Make a data directory: a copy of the one that initdb made at first."""
        home = self.home(account)
        with self._lock:
            template = home / f"cluster-{abs(hash(bindir))}"
            if not template.exists():
                unfinished = template.with_suffix(".new")
                shutil.rmtree(unfinished, ignore_errors=True)
                options = ["--username", SUPERUSER, "--auth", "trust", "--no-sync"]
                options += ["--encoding", "UTF8", "--locale", "C"]
                initdb: Command = [bindir / "initdb", *options, "--pgdata", unfinished]
                account.run(initdb, home)
                unfinished.rename(template)
        account.run(["cp", "-a", template, target], home)

    @staticmethod
    def _remove(maker: int, guard: Guard) -> None:
        """Remove everything at exit, but not at that of a forked child."""
        if maker == os.getpid():
            guard.release()


def _make_directory(account: Account) -> Path:
    """A new private directory, short enough for a socket, that the account owns."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        is_short = len(parent + LONGEST_SOCKET_NAME) <= SOCKET_PATH_LIMIT
        if is_short and account.can_enter(Path(parent).resolve()):
            path = Path(tempfile.mkdtemp(prefix="chopin-pg-", dir=parent))
            account.own(path)
            return path
    raise TemporaryServerError(
        "no directory for temporary files is short enough for a socket and open to the"
        " account of the server: set TMPDIR to one"
    )


SCRATCH = Scratch()
