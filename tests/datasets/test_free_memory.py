from __future__ import annotations

import sys

import pytest

from osler.datasets.free_memory import free_memory, resident_memory


@pytest.fixture
def machine(tmp_path):
    """A machine with 8 GiB available; its process lies in the job's group."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 16777216 kB\nMemFree: 1024 kB\nMemAvailable:    8388608 kB\n")
    (proc / "self" / "cgroup").write_text("0::/slurm/job_7\n")
    groups.mkdir()
    return proc, groups


def _limit(group, most, used, cache=0):
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\nactive_file 9\n")


def test_without_limits_it_is_what_the_machine_has(machine):
    proc, groups = machine
    assert free_memory(proc=proc, groups=groups) == 8 << 30


def test_the_tightest_group_decides_and_its_cache_counts_as_free(machine):
    proc, groups = machine
    _limit(groups / "slurm", 6 << 30, 1 << 30)
    _limit(groups / "slurm" / "job_7", "max", 1 << 30)
    assert free_memory(proc=proc, groups=groups) == 5 << 30
    _limit(groups / "slurm" / "job_7", 2 << 30, 3 << 29, cache=1 << 28)
    assert free_memory(proc=proc, groups=groups) == (1 << 29) + (1 << 28)


def test_inside_a_container_its_own_group_is_the_root(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/\n")
    _limit(groups, 1 << 30, 1 << 29)
    assert free_memory(proc=proc, groups=groups) == 1 << 29


def test_groups_of_the_first_version_are_read_too(machine):
    proc, groups = machine
    (groups / "memory").mkdir()
    (groups / "memory" / "memory.limit_in_bytes").write_text("3221225472")
    (groups / "memory" / "memory.usage_in_bytes").write_text("1073741824")
    assert free_memory(proc=proc, groups=groups) == 2 << 30


def test_a_group_that_is_over_its_limit_leaves_nothing(machine):
    proc, groups = machine
    _limit(groups / "slurm", 100, 300)
    assert free_memory(proc=proc, groups=groups) == 0


def test_a_system_that_does_not_say_is_not_guessed(tmp_path):
    assert free_memory(proc=tmp_path, groups=tmp_path) is None
    assert resident_memory(proc=tmp_path) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells")
def test_this_machine_has_some():
    assert (free_memory() or 0) > 1 << 20
    assert resident_memory() > 1 << 20
