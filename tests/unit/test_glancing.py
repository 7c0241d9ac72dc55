"""Every part that a launch builds on is glanced at once, before anything is made from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign import glancing
from campaign.glancing import Glances, glances_of
from campaign.plan.items import PlannedPart
from campaign.workspace import Workspace
from data_store.columns import Column
from data_store.errors import InputError
from data_store.parts import part_path, write_part


def planned(name: str, *needs: str) -> PlannedPart:
    return PlannedPart("sample", name, name, "f", "cpu", 1, {}, 0, inputs={"needs": needs})


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Parts in the order in which they are looked at; those that begin with "bad" are damaged."""
    found: list[str] = []

    def look(path: Path) -> list[str]:
        found.append(path.name)
        return ["manifest.json: missing"] if path.name.startswith("bad") else []

    monkeypatch.setattr(glancing, "glance_at_part", look)
    yield found
    assert len(set(found)) == len(found), "each once"


def test_inputs_are_looked_at_before_what_is_made_from_them_and_the_rest_in_time(
    looked: list[str],
) -> None:
    glances = Glances([planned("a"), planned("b"), planned("c", "a"), planned("d")], Path("parts"))
    assert glances.cover(planned("next", "b", "d", "not there"), for_s=60.0)
    assert sorted(looked) == ["b", "d"]
    assert glances.cover(planned("next", "b"), for_s=0.0), "seen already"
    glances.go_on()
    assert looked[2:] == ["a", "c"]
    assert not len(glances)


def test_what_is_not_looked_at_in_time_is_not_handed_out(looked: list[str]) -> None:
    glances = Glances([planned(f"{n}") for n in range(50)], Path("parts"))
    part = planned("next", *(f"{n}" for n in range(50)))
    assert not glances.cover(part, for_s=0.0)
    assert not glances.cover(part, for_s=-1.0)
    assert looked == [], "there was no time"
    assert glances.cover(part, for_s=60.0)
    assert len(looked) == 50


def test_damage_stops_what_comes_next(looked: list[str]) -> None:
    glances = Glances([planned("bad one"), planned("good")], Path("parts"))
    assert glances.cover(planned("next", "good"), 60.0)
    with pytest.raises(InputError, match="bad one"):
        glances.cover(planned("bad one"), 60.0)
    with pytest.raises(InputError, match="1 of the parts"):
        glances.cover(planned("anything"), 60.0)
    with pytest.raises(InputError, match="made anew"):
        glances.refuse_damaged()


@given(needs=st.lists(st.sets(st.integers(0, 9)), max_size=10), there=st.sets(st.integers(0, 9)))
def test_all_that_is_there_is_in_it_and_what_is_needed_first_comes_first(
    tmp_path_factory: pytest.TempPathFactory, needs: list[set[int]], there: set[int]
) -> None:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    plan = [planned(f"{n}", *(f"{m}" for m in sorted(of) if m < n)) for n, of in enumerate(needs)]
    for n in there:
        (workspace.parts / "sample" / f"{n}").mkdir(parents=True)
    order = list(glances_of(plan, workspace)._left)
    present = [part.fingerprint for part in plan if int(part.fingerprint) in there]
    assert sorted(order) == sorted(present)
    wanted = {need for part in plan if part.fingerprint not in present for need in part.needs}
    first = [one in wanted for one in order]
    assert first == sorted(first, reverse=True)


def test_a_damaged_part_is_seen_on_disk(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name in ("whole", "short", "empty"):
        column = {"value": Column(np.arange(3))}
        write_part(workspace.parts, "sample", name, column, {}, files={"model": b"weights"})
    root = workspace.parts
    (part_path(root, "sample", "short") / "model").write_bytes(b"weigh")
    (part_path(root, "sample", "empty") / "manifest.json").unlink()
    glances = glances_of([planned(n) for n in ("whole", "short", "empty", "absent")], workspace)
    assert len(glances) == 3
    glances.go_on()
    with pytest.raises(InputError) as caught:
        glances.refuse_damaged()
    assert "2 of the parts" in caught.value.message
    assert "model: 5 bytes, expected 7" in caught.value.message
    assert "has no manifest" in caught.value.message
