"""How much memory is free: of the machine, and of the group that a process is in."""

from __future__ import annotations

from pathlib import Path

from liveagent.memory import free_memory

KB, MB = 1024, 1_000_000


def test_this_machine_says_something_sensible() -> None:
    free = free_memory()
    assert free is None or 2**20 < free < 2**46


def test_the_kernel_and_a_container_of_either_kind(tmp_path: Path) -> None:
    meminfo, groups = tmp_path / "meminfo", tmp_path / "cgroup"
    assert free_memory(meminfo, groups) is None
    meminfo.write_text(f"MemTotal: 9000000 kB\nMemFree: 1 kB\nMemAvailable: {800 * KB} kB\n")
    assert free_memory(meminfo, groups) == 800 * KB * KB
    groups.mkdir()
    for name, value in [("memory.max", "max"), ("memory.current", "7"), ("memory.stat", "anon 1\ninactive_file 2")]:
        (groups / name).write_text(value)
    assert free_memory(meminfo, groups) == 800 * KB * KB
    (groups / "memory.max").write_text(f"{500 * MB}\n")
    (groups / "memory.current").write_text(f"{300 * MB}\n")
    (groups / "memory.stat").write_text(f"anon 5\ninactive_file {100 * MB}\n")
    assert free_memory(meminfo, groups) == 300 * MB  # what files in its cache take can be had back
    (groups / "memory.current").write_text(f"{700 * MB}\n")
    assert free_memory(meminfo, groups) == 0
    old = groups / "memory"
    old.mkdir()
    (groups / "memory.max").unlink()
    (old / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (old / "memory.usage_in_bytes").write_text("5\n")
    (old / "memory.stat").write_text("total_inactive_file 1\n")
    assert free_memory(meminfo, groups) == 800 * KB * KB
    (old / "memory.limit_in_bytes").write_text("105\n")
    assert free_memory(meminfo, groups) == 101
    meminfo.write_text("MemTotal: 9000000 kB\n")  # a kernel older than the line
    assert free_memory(meminfo, groups) == 101
