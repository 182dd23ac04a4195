"""How a profile holds a process of this machine, tried on a real process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cscale_hub.profiles import Profile
from cscale_hub.spawn.machine import available, free_memory, limiter, processors_for

REPORT = (
    "import os, resource;"
    "print(len(os.sched_getaffinity(0)), resource.getrlimit(resource.RLIMIT_DATA)[0])"
)
TAKES = "import sys; block = bytearray(int(sys.argv[1])); print(len(block))"


def under(profile: Profile, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        preexec_fn=limiter(profile, "uabc234"),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_gets_the_processors_and_memory_of_its_profile() -> None:
    said = under(Profile(title="T", cpu=1, memory="1Gi"), REPORT).stdout.split()
    assert said == ["1", str(2**30)]


def test_more_memory_than_the_profile_has_cannot_be_taken() -> None:
    profile = Profile(title="T", memory="512Mi")
    assert under(profile, TAKES, str(64 * 2**20)).returncode == 0
    refused = under(profile, TAKES, str(1024 * 2**20))
    assert refused.returncode != 0
    assert "MemoryError" in refused.stderr


def test_a_profile_without_limits_changes_nothing() -> None:
    said = under(Profile(title="T"), REPORT).stdout.split()
    here = [str(len(os.sched_getaffinity(0))), str(resource.getrlimit(resource.RLIMIT_DATA)[0])]
    assert said == here


@pytest.mark.parametrize(("cpu", "count"), [(0.5, 1), (1, 1), (1.5, 2), (4, 4), (64, 8)])
def test_processors_are_whole_and_at_most_those_there_are(cpu: float, count: int) -> None:
    present = {0, 2, 3, 5, 8, 9, 11, 14}
    chosen = processors_for(cpu, "uabc234", present)
    assert chosen <= present
    assert len(chosen) == count


def test_persons_are_spread_over_the_processors() -> None:
    present = set(range(8))
    first = {frozenset(processors_for(1, f"u{n}", present)) for n in range(100)}
    assert len(first) == 8


def test_free_memory_is_read_and_unknown_where_it_is_not_told(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 8 kB\nMemAvailable:    2048 kB\n", encoding="ascii")
    assert free_memory(told) == 2048 * 1024
    assert free_memory(tmp_path / "none") is None


def test_words_say_when_memory_is_short_and_gpus_are_not_kept() -> None:
    assert "shared processor" in available(Profile(title="T"))
    assert "less memory" in available(Profile(title="T", memory="900Ti"))
    assert "No graphics processor" in available(Profile(title="T", gpu=1))
