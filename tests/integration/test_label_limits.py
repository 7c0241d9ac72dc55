"""Labels in a process of their own: the same numbers, and an end to what takes too much."""

from __future__ import annotations

import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from apps.contract import Request, Result
from apps.labeling.child import ChildLabeler, Limits
from apps.labeling.labeler import make_labeler
from apps.labeling.settings import MethodSettings
from apps.labeling.task import label
from campaign.plan.build import build_plan
from campaign.spec.model import parse_spec
from data_store.errors import InputError, LostError
from tests.e2e.tiny import TINY
from tests.laws.test_labels import NUMBERS, QUICK, WATER, request

HANGS = [sys.executable, "-c", "import time; time.sleep(600)"]
EATS = [
    sys.executable, "-c", "import time\nx = bytearray(400_000_000)\ntime.sleep(600)",
]  # fmt: skip
DIES = [sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit(7)"]


def test_a_child_gives_the_same_label_and_leaves_nothing() -> None:
    here = make_labeler(QUICK).label(NUMBERS, WATER, 0, 1)
    with ChildLabeler(QUICK) as child:
        there = child.label(NUMBERS, WATER, 0, 1, Limits(wall_s=120.0, memory_MB=4000.0))
        with pytest.raises(InputError, match="multiplicity 2"):
            child.label(NUMBERS, WATER, 0, 2, Limits())
    assert (there.energy_eV, there.outcome) == (here.energy_eV, here.outcome)
    np.testing.assert_array_equal(there.forces, here.forces)
    assert not [command for command in _children() if "labeling.child" in str(command)]


@pytest.mark.parametrize(
    ("command", "limits", "said"),
    [
        (HANGS, Limits(wall_s=0.5), "more than 0.5 s"),
        (EATS, Limits(memory_MB=200.0), "more than 200 MB"),
        (DIES, Limits(), "gone|code 7|ended"),
    ],
)
def test_what_takes_too_much_is_stopped_as_a_loss(
    command: list[str], limits: Limits, said: str
) -> None:
    with ChildLabeler(QUICK, command=command) as child, pytest.raises(LostError, match=said):
        child.label(NUMBERS, WATER, 0, 1, limits)
    assert command not in _children()


def _children() -> list[list[str]]:
    """Commands of the processes that this one has started and that are alive."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # gone, or dead and not buried: that is one, too
            found.append(child.cmdline())
    return found


def test_a_stopped_label_is_lost_and_gets_more_the_next_time(tmp_path: Path) -> None:
    asked = request(tmp_path, indices=[0], method=MethodSettings(labeler="gfn2-xtb"))
    asked["settings"]["limit_s"] = 0.2  # a process has not even begun by then
    for tries in (1, 2):
        with pytest.raises(LostError, match="took more than") as lost:
            label(asked)
        (note,) = Request.from_json(asked).work_dir.glob("*.stopped")
        assert note.read_text() == str(tries)
        assert Result.failed(lost.value).outcome == "lost"
    note.write_text("10")
    assert label(asked)["counts"]["labels_done"] == 1


def test_limits_are_no_science() -> None:
    tables = tomllib.loads(TINY)
    before = [p.fingerprint for p in build_plan(parse_spec(tables, "test", Path())).parts]
    tables["labels"] |= {"limit_s": 60.0, "limit_memory_MB": 900.0}
    plan = build_plan(parse_spec(tables, "test", Path()))
    assert [p.fingerprint for p in plan.parts] == before
    assert plan.the("label").settings["limit_s"] == 60.0
