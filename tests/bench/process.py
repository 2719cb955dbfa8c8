"""What the kernel says about another process: processor time and memory. Linux only: see proc(5)."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_time_s(pid: int) -> float:
    """The processor time that all its threads have used so far, their own and the kernel's for them."""
    # The second field is the program's name in brackets and may hold anything; utime is field 14, stime 15.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Its resident memory."""
    return _status_bytes(pid, "VmRSS")


def peak_resident_bytes(pid: int) -> int:
    """The most resident memory it had since `forget_peak`."""
    return _status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let its peak begin at what it has now. Its owner and root may do so."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def raise_file_limit(files: int) -> None:
    """Let this process and its children open so many files. Raises ValueError where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        raise ValueError(f"{files} open files are needed and {hard} are allowed: raise the hard limit (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def _status_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise ValueError(f"/proc/{pid}/status has no {field}: the process has ended")
