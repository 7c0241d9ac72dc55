"""Time left: known where there is a pace, and never where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.progress import Progress, StageProgress
from campaign.time_left import WINDOW_S, time_left

LAUNCHED: dict[str, Any] = {"event": "launched", "unix": 1e6}


def rows_of(stage: str, began: float, done: list[float], items: int = 1) -> list[dict[str, Any]]:
    """One hand-out, and so many tasks that came back done."""
    results = [
        {"event": "result", "stage": stage, "outcome": "done", "unix": unix, "items": items}
        for unix in done
    ]
    return [{"event": "submitted", "stage": stage, "unix": began}, *results]


def progress(**stages: tuple[int, int]) -> Progress:
    return Progress(
        tuple(StageProgress(name, name, total, done) for name, (total, done) in stages.items())
    )


@given(pace_s=st.floats(1.0, 500.0), made=st.integers(1, 50), total=st.integers(51, 500))
def test_a_steady_pace_is_found(pace_s: float, made: int, total: int) -> None:
    began = 1e6
    done = [began + pace_s * (number + 1) for number in range(made)]
    rows = [LAUNCHED, *rows_of("label", began, done)]
    found = time_left(progress(label=(total, made)), rows, at_work=True, now_unix=done[-1])
    (left_s,) = found.stages_s.values()
    assert left_s is not None
    exact_s = (total - made) * pace_s
    most_off = 1.0 if done[-1] - began <= WINDOW_S else 1.0 + pace_s / WINDOW_S
    assert (
        exact_s / most_off - 1.0 <= left_s <= exact_s * most_off + exact_s * pace_s / WINDOW_S + 1.0
    )
    assert found.at_least_s == found.at_most_s == left_s


def test_a_pace_of_long_ago_is_none() -> None:
    rows = [LAUNCHED, *rows_of("label", 1e6, [1e6 + 10.0])]
    later = 1e6 + 10.0 + WINDOW_S + 1.0
    found = time_left(progress(label=(10, 1)), rows, at_work=True, now_unix=later)
    assert found.stages_s == {"label": None}
    assert found.in_words == "time left: not known yet"


@pytest.mark.parametrize("why", ["nothing came back", "another launch", "no driver"])
def test_without_a_pace_nothing_is_told(why: str) -> None:
    rows = [LAUNCHED, *rows_of("label", 1e6, [] if why == "nothing came back" else [1e6 + 5.0])]
    if why == "another launch":
        rows += [{**LAUNCHED, "unix": 1e6 + 6.0}, *rows_of("label", 1e6 + 7.0, [])]
    found = time_left(
        progress(label=(10, 1)), rows, at_work=why != "no driver", now_unix=1e6 + 10.0
    )
    assert found.stages_s == {"label": None}
    assert found.at_least_s is None
    assert ("no driver" in found.in_words) == (why == "no driver")


def test_what_is_lost_or_goes_on_is_no_pace() -> None:
    rows = [LAUNCHED, *rows_of("label", 1e6, [1e6 + 5.0])]
    rows[-1]["outcome"] = "continue"
    found = time_left(progress(label=(10, 0)), rows, at_work=True, now_unix=1e6 + 10.0)
    assert found.stages_s == {"label": None}


def test_the_whole_is_between_the_longest_stage_and_their_sum() -> None:
    rows = [LAUNCHED, *rows_of("sample", 1e6, [1e6 + 50.0], items=10)]
    rows += rows_of("label", 1e6, [1e6 + 100.0], items=5)
    seen = progress(sample=(20, 10), label=(30, 5), split=(1, 1))
    found = time_left(seen, rows, at_work=True, now_unix=1e6 + 100.0)
    assert found.stages_s == {"sample": 100.0, "label": 500.0}
    assert (found.at_least_s, found.at_most_s) == (500.0, 600.0)
    more = progress(sample=(20, 10), label=(30, 5), finetune=(2, 0))
    found = time_left(more, rows, at_work=True, now_unix=1e6 + 100.0)
    assert (found.at_least_s, found.at_most_s) == (500.0, None)
    assert found.in_words == "time left: more than 8 min; not known yet of finetune"
    assert found.to_json()["at_least_s"] == 500.0


def test_of_what_is_complete_nothing_is_left() -> None:
    found = time_left(progress(label=(3, 3)), [], at_work=False, now_unix=0.0)
    assert found.stages_s == {}
    assert found.in_words == "time left: none"
