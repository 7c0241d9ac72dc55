"""How many tasks the memory of a machine holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.execution import room as module
from campaign.execution.room import Room, machine_memory_MB
from campaign.sites.site import LocalSite

SITE = LocalSite.model_validate({"site": {"name": "test"}, "pools": {"cpu": {}}})


def test_as_many_fit_as_were_measured_to_fit() -> None:
    room = Room(SITE, memory_MB=10_000.0)
    assert room.holds("f", {"f": 1000}), "what was not measured yet is taken to need none"
    room.took("f", 2_000.0)
    room.took("f", 1_000.0)
    assert [n for n in range(8) if room.holds("f", {"f": n})] == [0, 1, 2, 3], "nine GB for tasks"
    room.took("g", 3_000.0)
    assert room.holds("f", {"f": 2, "g": 1})
    assert not room.holds("g", {"f": 2, "g": 1})


def test_one_may_always_run() -> None:
    room = Room(SITE, memory_MB=1_000.0)
    room.took("f", 50_000.0)
    assert room.holds("f", {})
    assert room.holds("f", {"f": 0, "g": 0})
    assert not room.holds("f", {"g": 1})


@given(st.lists(st.integers(0, 64), min_size=1, max_size=20))
def test_backing_off_halves_and_never_stops(others: list[int]) -> None:
    room, before = Room(SITE, memory_MB=1e9), 10**6
    for there in others:
        most = room.ran_out("f", there)
        assert 1 <= most <= max(1, min(before, there + 1) // 2)
        before = most
        assert room.holds("f", {"g": 1}), "one of it may always join"
        assert not room.holds("f", Counter({"f": most}))
        assert room.holds("g", {"f": 1000}), "others are not held back"


def test_the_kernels_word_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "events"
    said.write_text("low 0\noom 3\noom_kill 4\n")
    monkeypatch.setattr(module, "_GROUP_EVENTS", said)
    monkeypatch.setattr(module, "_KERNEL_EVENTS", tmp_path / "nowhere")
    room = Room(SITE)
    assert not room.was_killed_for_memory()
    said.write_text("low 0\noom 4\noom_kill 5\n")
    assert room.was_killed_for_memory()
    assert not room.was_killed_for_memory()


def test_a_control_group_limits_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, limit = machine_memory_MB(), tmp_path / "max"
    monkeypatch.setattr(module, "_GROUP_LIMIT", limit)
    limit.write_text("max\n")
    assert machine_memory_MB() >= whole > 0
    limit.write_text(f"{100 * 2**20}\n")
    assert machine_memory_MB() == 100.0
