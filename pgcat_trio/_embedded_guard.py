"""The watchdog of an embedded cluster, and the little it knows about processes.

Run as a program (standard library only) it waits for a byte or the end of its standard input, whose other end only the
owner of the cluster holds, so that it also wakes when the owner was killed. Then it kills every process of the cluster
and removes the cluster's directory. It is told no process ids: a process belongs to the cluster when it is a program of
that PostgreSQL installation, runs as the server's user and names the cluster's directory among its arguments; the rest
are descendants of these. All of that is in ``/proc`` for everyone to read, while the working directory or the
executable of another user's process may be hidden even from root (containers without CAP_SYS_PTRACE).
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import shutil
import signal
import sys
import time

IPC_RMID = 0  # <sys/ipc.h>
QUIET_ROUNDS = 2  # a child forked by the owner just before its death shows its arguments only after its exec
ROUND_S = 0.03
MAX_ROUNDS = 200  # about six seconds; what still resists is in uninterruptible sleep


def parents() -> dict[int, int]:
    """Every live process and its parent; zombies are not alive."""
    found: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                # The command name before the last ")" may hold anything; state and parent come after it.
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    found[int(entry)] = int(parent)
    return found


def tree(root: int) -> list[int]:
    """``root``, where it is alive, and its descendants. PostgreSQL's children lead sessions of their own, so that a
    process group does not find them (``InitPostmasterChild`` calls ``setsid``)."""
    parent_of = parents()
    family = [root] if root in parent_of else []
    for member in family:
        family.extend(pid for pid, parent in parent_of.items() if parent == member)
    return family


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal each process; those that are gone or not ours are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def stop_tree(root: int) -> list[int]:
    """Send SIGSTOP to ``root`` and then to its descendants until a look finds no new one; returns all of them."""
    stopped: list[int] = []
    fresh = [root]
    while fresh:
        send(fresh, signal.SIGSTOP)
        stopped += fresh
        fresh = [pid for pid in tree(root) if pid not in stopped]
    return stopped


def kill_tree(root: int) -> list[int]:
    """SIGKILL ``root`` and its descendants, none of which can fork or notice the death of another first."""
    pids = stop_tree(root)
    send(pids, signal.SIGKILL)
    return pids


def cluster_roots(directory: str, bin_dir: str, uid: int) -> list[int]:
    """The processes that belong to the cluster in ``directory``, without their children."""
    argument = os.fsencode(directory)
    programs = (os.fsencode(bin_dir) + b"/", argument + b"/")  # below the directory where they had to be copied
    roots: list[int] = []
    for pid in parents():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            first, *others = file.read().split(b"\0")
            ours = first.startswith(programs) and any(argument in other for other in others)
            if ours and os.fstat(file.fileno()).st_uid == uid:
                roots.append(pid)
    return roots


def segments(directory: str) -> list[int]:
    """The System V segments of the servers that run, or were killed, in the data directories below ``directory``.

    A server that stops in order removes its segment and its ``postmaster.pid``, whose seventh line is the segment's
    key and id (``src/include/utils/pidfile.h``); a new start replaces both.
    """
    found: list[int] = []
    for path in glob.glob(glob.escape(directory) + "/*/postmaster.pid"):
        with contextlib.suppress(OSError, IndexError, ValueError), open(path, "rb") as file:
            found.append(int(file.read().splitlines()[6].split()[1]))
    return found


def remove_segments(ids: list[int], uid: int) -> None:
    """Remove segments as their owner: nobody else may, not even root in a container without CAP_SYS_ADMIN."""
    ourselves = os.geteuid()
    os.seteuid(uid)
    for segment_id in ids:
        ctypes.CDLL(None).shmctl(segment_id, IPC_RMID, None)
    os.seteuid(ourselves)


def destroy(directory: str, bin_dir: str, uid: int) -> None:
    """Kill all processes of the cluster and remove its directory. Only for a process that has nothing else to do."""
    quiet = 0
    for _ in range(MAX_ROUNDS):
        roots = cluster_roots(directory, bin_dir, uid)
        for root in roots:
            kill_tree(root)
        if not roots:
            remove_segments(segments(directory), uid)
            shutil.rmtree(directory, ignore_errors=True)
            quiet = quiet + 1 if not os.path.lexists(directory) else 0
            if quiet == QUIET_ROUNDS:
                return
        time.sleep(ROUND_S)


def main(directory: str, bin_dir: str, uid: str) -> None:
    """Wait for the owner's word or death, then destroy the cluster."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.read(0, 1)
    destroy(directory, bin_dir, int(uid))


if __name__ == "__main__":
    main(*sys.argv[1:])
