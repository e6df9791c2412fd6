"""The guard of a test server: what it guards cannot outlive the one who asked for it.

Owns: the process between a Python program and a PostgreSQL postmaster. It is run as a
program of its own and imports nothing of the package (L6).

    python -I -S _testing_guard.py DIRECTORY                              files alone
    python -I -S _testing_guard.py DIRECTORY UID GID DATA LOG COMMAND...  and a server

Rules:

- Standard input is the life line. When it reaches its end - the program closed it, or
  died in whatever way, SIGKILL included - the server is shut down at once and
  DIRECTORY is removed. Several guards may have the same one: the last finishes it.
- When the server ends first, the guard waits for the last of its processes, releases
  its shared memory, and ends with the server's exit status. DIRECTORY stays.
- If the guard itself is killed, Linux sends SIGQUIT to the server.
- UID and GID are what the server runs as; -1 keeps the guard's own.
- One line goes to standard output: the server's process id.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
IPC_RMID = 0  # sys/ipc.h
SHUTDOWN_LIMIT_S = 10.0
POSTMASTER_PID_SHMEM = 6  # the line "key id"; LOCK_FILE_LINE_SHMEM_KEY, from 0

LIBC = ctypes.CDLL(None, use_errno=True)
IS_LINUX = sys.platform == "linux"


def spawn(uid: int, gid: int, log_file: str, command: list[str]) -> int:
    """Start the command as another user, tied to this process; return its id."""
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    guard = os.getpid()
    pid = os.fork()
    if pid:
        os.close(log)
        return pid
    try:
        for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1)):
            os.dup2(source, target)
        os.dup2(1, 2)
        if uid != -1:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if IS_LINUX:
            # After setuid, which clears it; before the look at the parent, or a guard
            # that died in between would not be missed.
            LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGQUIT), 0, 0, 0)
            if os.getppid() != guard:
                os._exit(1)
        os.execv(command[0], command)
    except BaseException as error:
        os.write(2, f"cannot start {command[0]}: {error}\n".encode())
    os._exit(127)


def own_children() -> list[int]:
    """Processes whose parent is this one; after the postmaster's death its orphans."""
    children: list[int] = []
    if not IS_LINUX:
        return children
    me = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # The name in parentheses may hold anything; the fields follow it.
                if int(stat.read().rpartition(b")")[2].split()[1]) == me:
                    children.append(int(name))
    return children


def send(pid: int, number: int) -> None:
    """Signal a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_readable(files: list[int], timeout: float | None) -> list[int]:
    """Those of the files that can be read, or none after the time-out."""
    return select.select(files, [], [], timeout)[0]


def reap(postmaster: int) -> int | None:
    """Collect ended children; the postmaster's exit status if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == postmaster:
                status = os.waitstatus_to_exitcode(code)
    return status


def end_orphans() -> None:
    """Kill what a killed postmaster left: without it the processes are of no use."""
    for pid in own_children():
        send(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def release_shared_memory(data_directory: str) -> None:
    """Remove the System V segment that a killed postmaster could not remove.

    Its id is in postmaster.pid, which a postmaster that ends in order takes away.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        with open(os.path.join(data_directory, "postmaster.pid")) as pid_file:
            line = pid_file.read().split("\n")[POSTMASTER_PID_SHMEM]
        LIBC.shmctl(int(line.split()[1]), IPC_RMID, None)


def guard_server(wake: int, uid: int, gid: int, log: str, command: list[str]) -> int:
    """Run the server until it ends or the life line does; its exit status."""
    if IS_LINUX:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    postmaster = spawn(uid, gid, log, command)
    os.write(1, b"%d\n" % postmaster)
    life_line = 0
    watched, timeout = [life_line, wake], None
    while (status := reap(postmaster)) is None:
        ready = wait_readable(watched, timeout)
        if wake in ready and signal.SIGTERM not in os.read(wake, 64):
            continue
        # The life line ended, or somebody ends the guard: at once, then with force.
        send(postmaster, signal.SIGQUIT if timeout is None else signal.SIGKILL)
        watched, timeout = [wake], SHUTDOWN_LIMIT_S
    end_orphans()
    return status


def main(arguments: list[str]) -> int:
    """Guard the directory, and the server if there is one in the arguments."""
    directory, *server = arguments
    wake, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    status = 0
    if server:
        uid, gid, data, log, *command = server
        status = guard_server(wake, int(uid), int(gid), log, command)
        release_shared_memory(data)
    else:
        wait_readable([0, wake], None)
    if wait_readable([0], 0):  # nothing is ever written: readable means ended
        shutil.rmtree(directory, ignore_errors=True)
    return min(status, 255) if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
