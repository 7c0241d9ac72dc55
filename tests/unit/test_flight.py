"""What may be handed out, on random plans: workers are kept busy, and never more than the cores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.execution import flight as module
from campaign.execution.flight import QUEUED, QUICK_S, Flight
from campaign.execution.frontier import Frontier
from campaign.execution.tasks import Task
from campaign.plan.items import PlannedPart
from campaign.sites.site import LocalSite

CORES = 4


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: CORES)


def site(workers: int = CORES, **pools: int) -> LocalSite:
    named = {"cpu": workers, **pools}
    return LocalSite.model_validate(
        {
            "site": {"name": "test"},
            "pools": {name: {"workers_per_node": count} for name, count in named.items()},
        }
    )


def task(name: str, cores: int = 1, role: str = "cpu", function: str = "f") -> Task:
    part = PlannedPart("sample", name, name, function, role, cores, {}, 0)
    return Task(name, part, function, ({},), 1, merges=True)


def filled(flight: Flight, cores: int = 1, role: str = "cpu") -> int:
    """How many more tasks of a kind fit."""
    count = 0
    while flight.fits(one := task(f"{role}{cores}-{count}", cores, role)):
        flight.add(one)
        count += 1
    return count


def test_what_has_not_shown_to_be_quick_waits_with_the_driver() -> None:
    flight = Flight(site(), [])
    assert filled(flight) == CORES


def test_quick_tasks_wait_at_the_workers_until_one_was_long() -> None:
    flight = Flight(site(), [])
    flight.took(task("before"), QUICK_S / 10, 0.0)
    assert filled(flight) == QUEUED * CORES
    flight.remove("cpu1-0")
    flight.took(task("a long one"), 2 * QUICK_S, 0.0)
    flight.took(task("another quick one"), QUICK_S / 10, 0.0)
    assert not flight.fits(task("next")), "one that took long is remembered"
    others = Flight(site(), [])
    others.took(task("of another function", function="g"), QUICK_S / 10, 0.0)
    assert filled(others) == CORES


def test_a_task_of_several_cores_starts_when_they_are_free_and_quick_ones_do_not_pile_up() -> None:
    flight, wide = Flight(site(), []), task("wide", cores=CORES)
    flight.took(task("before"), 0.0, 0.0)
    assert filled(flight) == QUEUED * CORES
    while len(flight):
        assert not flight.fits(wide)
        flight.remove(next(iter(flight)).name)
    assert flight.fits(wide)
    flight.add(wide)
    assert filled(flight) == 0, "a worker that is free would start it on a core that is not"


def test_more_workers_than_cores_get_nothing_to_keep() -> None:
    flight = Flight(site(workers=2 * CORES), [])
    flight.took(task("before"), 0.0, 0.0)
    assert filled(flight) == CORES
    both = Flight(site(gpu=CORES), [])
    both.took(task("before"), 0.0, 0.0)
    both.add(task("on another pool", role="gpu"))
    assert filled(both) == CORES - 1


def busiest(flight: Flight, workers: int) -> int:
    """Cores that are busy if workers start what they have, the widest first."""
    by_pool: dict[str, list[int]] = {}
    for one in flight:
        by_pool.setdefault(one.part.role, []).append(one.part.cores)
    return sum(sum(sorted(cores)[-workers:]) for cores in by_pool.values())


steps = st.lists(
    st.tuples(st.sampled_from(["out", "back"]), st.integers(1, CORES), st.sampled_from("fg")),
    max_size=60,
)


@given(steps=steps, workers=st.integers(1, 2 * CORES), gpus=st.booleans())
def test_cores_are_never_promised_twice(
    steps: list[tuple[str, int, str]], workers: int, gpus: bool
) -> None:
    flight = Flight(site(workers, **({"gpu": workers} if gpus else {})), [])
    for number, (what, cores, function) in enumerate(steps):
        if what == "back" and len(flight):
            back = flight.remove(next(iter(flight)).name)
            flight.took(back, 0.0 if function == "f" else 2 * QUICK_S, 0.0)
            continue
        role = "gpu" if gpus and number % 3 == 0 else "cpu"
        one = task(f"{number}", cores, role, function)
        if flight.fits(one):
            flight.add(one)
        assert busiest(flight, workers) <= CORES
    if not len(flight):
        assert flight.fits(task("any", CORES)), "it never stands still"


def test_a_later_task_does_not_take_a_core_that_a_wide_part_is_about_to_need() -> None:
    needed, later = task("needed"), task("later")
    wide = PlannedPart("sample", "wide", "wide", "f", "cpu", 4, {}, 0, inputs={"x": ("needed",)})
    plan = [needed.part, wide, later.part]
    frontier = Frontier(plan, (), (), lambda one: [], lambda one: one, lambda one: "")
    flight = Flight(site(), plan)
    assert not flight.waited_for(later, frontier), "it still waits for what is not running"
    flight.add(needed)
    assert flight.waited_for(later, frontier)
    assert not flight.waited_for(needed, frontier)
