"""Walltimes in all of Slurm's forms, to seconds and back to what Parsl reads."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl.utils import wtime_to_minutes

from campaign.sites.walltime import seconds_of_walltime, walltime_of_seconds

counts = st.integers(0, 999)


@given(st.integers(60, 10**8))
def test_there_and_back_again_drops_the_seconds_alone(seconds: int) -> None:
    text = walltime_of_seconds(seconds)
    assert seconds_of_walltime(text) == seconds - seconds % 60
    assert wtime_to_minutes(text) == seconds // 60, "as Parsl reads it"


@given(st.integers(1, 99), counts, counts, counts)
def test_every_form_is_the_same_sum(days: int, hours: int, minutes: int, seconds: int) -> None:
    day, hour, minute = days * 86_400, hours * 3_600, minutes * 60
    assert seconds_of_walltime(f"{days}-{hours}") == day + hour
    assert seconds_of_walltime(f"{days}-{hours}:{minutes}") == day + hour + minute
    whole = f"{days}-{hours}:{minutes}:{seconds}"
    assert seconds_of_walltime(whole) == day + hour + minute + seconds
    # Without days, the first of two is minutes and the first of three is hours.
    assert seconds_of_walltime(f"{days}:{minutes}:{seconds}") == days * 3_600 + minute + seconds
    assert seconds_of_walltime(f"{days}:{seconds}") == days * 60 + seconds
    assert seconds_of_walltime(days) == days * 60


@pytest.mark.parametrize(
    ("text", "hours"), [("36:00:00", 36), ("1-12", 36), ("2-00:00:00", 48), ("2880", 48)]
)
def test_beyond_a_day(text: str, hours: int) -> None:
    assert seconds_of_walltime(text) == hours * 3_600
    assert walltime_of_seconds(hours * 3_600) == f"{hours}:00:00"


@pytest.mark.parametrize(
    "text",
    ["", "0", "00:59", "00:00:59", "0-0", "-5", "1.5", "2-", "-2", "1:2:3:4", "1-2-3", "30s", "2h",
     "1 day", "UNLIMITED", "٣٠", "1:-2", "1e3", "<walltime>"],
)  # fmt: skip
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="walltime"):
        seconds_of_walltime(text)


@settings(deadline=None)
@given(st.text("0123456789:- ", max_size=12) | st.text(max_size=6))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert seconds_of_walltime(text) >= 60
