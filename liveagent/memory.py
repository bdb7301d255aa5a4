"""How much memory is free: what this machine's kernel says, and what the group that this process is in may take."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUPS = Path("/sys/fs/cgroup")


def free_memory(meminfo: Path = MEMINFO, groups: Path = GROUPS) -> int | None:
    """Bytes that could be taken without swapping; None where nobody says."""
    found = [each for each in (_of_kernel(meminfo), _of_group(groups)) if each is not None]
    return min(found) if found else None


def _of_kernel(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    said = next((line.split() for line in lines if line.startswith("MemAvailable:")), None)
    return int(said[1]) * 1024 if said is not None else None


def _of_group(groups: Path) -> int | None:
    """A container's limit, version 2 of control groups or version 1. Files that are cached can be given up."""
    for limit, used, stat, cached in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        try:
            most, now = (groups / limit).read_text().strip(), int((groups / used).read_text())
            lines = [line.split() for line in (groups / stat).read_text().splitlines()]
        except (OSError, ValueError):
            continue
        if most == "max" or int(most) >= 2**60:  # version 1 has a number for "no limit"
            return None
        return max(0, int(most) - now + next((int(value) for name, value in lines if name == cached), 0))
    return None
