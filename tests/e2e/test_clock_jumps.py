"""The clock is set forward by a day, and back again, while a campaign runs: nothing changes.

The clock is that of `wall_clock.c`, preloaded into the driver, into Parsl and into all workers.
What must hold without it is in `tests/unit/test_clock.py`. It is never set behind the kernel's:
code that waits on the kernel's clock until a time by this one would not wait at all and spin, as it
would on no machine whose clock is set.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.kills import KINDS, Quiet, check
from tests.e2e.tiny import events, finish, start

DAY_S = 86_400


def set_clock(file: Path, offset_s: int) -> None:
    aside = file.with_suffix(".new")
    aside.write_text(f"{offset_s}\n")
    aside.replace(file)


@pytest.fixture
def clock(tmp_path: Path) -> dict[str, str]:
    """Environment of a process whose wall clock is set by a file."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a clock that can be set is compiled, by cc on Linux")
    library, source = tmp_path / "wall_clock.so", Path(__file__).with_name("wall_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    set_clock(tmp_path / "offset", 0)
    return {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(tmp_path / "offset")}


def test_only_the_wall_clock_is_set(clock: dict[str, str]) -> None:
    code = "import time; print(time.time(), time.monotonic()); time.sleep(0.01)"
    set_clock(Path(clock["WALL_CLOCK_OFFSET"]), DAY_S)
    said = subprocess.run([sys.executable, "-c", code], env=clock, stdout=-1, check=True).stdout
    wall, monotonic = map(float, said.split())
    assert wall - time.time() == pytest.approx(DAY_S, abs=60.0)
    assert monotonic - time.monotonic() == pytest.approx(0.0, abs=60.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_clock_that_is_set_forward_and_back_changes_no_result(
    undisturbed: Quiet, tmp_path: Path, clock: dict[str, str]
) -> None:
    folder = tmp_path / "tiny"
    driver = start(folder, **clock)
    for kind, offset_s in (("scf", DAY_S), ("dynamics", 0)):
        while not any(KINDS[kind].look(folder / "workspace")):
            assert driver.poll() is None, f"the driver ended before {kind}"
            time.sleep(0.01)
        set_clock(Path(clock["WALL_CLOCK_OFFSET"]), offset_s)
    finish(driver, folder)
    check(folder, undisturbed)
    said = [row["unix"] for row in events(folder)]
    steps = [after - before for before, after in itertools.pairwise(said)]
    assert max(steps) > 0.9 * DAY_S, "the clock was never set forward"
    assert min(steps) < -0.9 * DAY_S, "nor back"
    ended = events(folder)[-1]
    assert 0.0 < ended["wall_s"] < DAY_S, "a duration by the clock that was set"
