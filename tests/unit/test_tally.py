"""What a driver counts is what anyone reads from the workspace; what is left of a task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.execution.tasks import items_of, rest_of, tasks_of
from campaign.plan.items import Items, PlannedPart, planned_part
from campaign.progress import Tally, progress_of
from campaign.workspace import Workspace
from data_store.columns import Column
from data_store.parts import write_part
from data_store.work import item_key, save_item


def plan() -> list[PlannedPart]:
    labels = Items(5, "any:item", "e" * 64, per_task=2)
    chunks = [planned_part("sample", f"chunk {n}", {"n": n}, 0) for n in range(3)]
    return [*chunks, planned_part("label", "labels", {}, 0, items=labels)]


def make(part: PlannedPart, workspace: Workspace) -> None:
    column = {"value": Column(np.arange(2))}
    write_part(workspace.parts, part.stage, part.fingerprint, column, {})


def make_item(index: int, part: PlannedPart, workspace: Workspace) -> None:
    assert part.items is not None
    folder = workspace.work / part.items.fingerprint
    save_item(folder, item_key(index), {"value": np.array([index])}, {})


@settings(deadline=None, max_examples=30)  # it writes parts
@given(st.lists(st.integers(0, 8), unique=True), st.integers(0, 9))
def test_a_tally_says_what_lies_in_the_workspace(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], before: int
) -> None:
    """Numbers 0 to 3 are parts, 4 to 8 items; some are made before the launch."""
    workspace, parts = Workspace(tmp_path_factory.mktemp("workspace")), plan()
    tally = Tally(parts, (), workspace.work)
    for step, number in enumerate(order):
        if step == before:
            made = {parts[n].fingerprint for n in order[:step] if n < len(parts)}
            tally = Tally(parts, made, workspace.work)
        if number < len(parts):
            make(parts[number], workspace)
            tally.made(parts[number])
        else:
            make_item(number - len(parts), parts[-1], workspace)
        assert tally.progress() == progress_of(parts, workspace.parts, workspace.work)


def test_what_is_left_of_a_task_is_its_own_items_that_are_not_there(tmp_path: Path) -> None:
    workspace, part = Workspace(tmp_path), plan()[-1]
    first, second, third = tasks_of(part, workspace, threads=1)
    assert rest_of(first, workspace) == first
    make_item(1, part, workspace)
    rest = rest_of(first, workspace)
    assert rest is not None
    assert (rest.name, rest.items) == (first.name, 1)
    assert list(items_of(rest, workspace)) == [0]
    assert rest_of(second, workspace) == second, "another's items are none of its"
    make_item(0, part, workspace)
    assert rest_of(first, workspace) is None
    assert list(items_of(third, workspace)) == [4]


def test_a_merging_whose_items_are_gone_is_to_be_expanded_anew(tmp_path: Path) -> None:
    workspace, part = Workspace(tmp_path), plan()[-1]
    for index in range(5):
        make_item(index, part, workspace)
    (merging,) = tasks_of(part, workspace, threads=1)
    assert merging.merges
    assert items_of(merging, workspace) == {}
    assert rest_of(merging, workspace) == merging
    next(workspace.work.rglob("*.npz")).unlink()
    assert rest_of(merging, workspace) is None
    (chunk,) = tasks_of(plan()[0], workspace, threads=1)
    assert rest_of(chunk, workspace) == chunk
