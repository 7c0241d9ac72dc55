"""The frontier on random plans with random fates: what is handed out, when, and what never is."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from campaign.execution.frontier import Frontier
from campaign.execution.tasks import Task
from campaign.plan.items import Items, PlannedPart

LANES = ("cpu", "gpu")


def part(name: str, needs: tuple[str, ...] = (), items: int = 0, role: str = "cpu") -> PlannedPart:
    series = Items(items, "f", f"series-{name}", 1) if items else None
    return PlannedPart(
        "sample", name, name, "f", role, 1, {}, 0, inputs={"needs": needs}, items=series
    )


@dataclass
class World:
    """What lies in the workspace: parts, and items by part."""

    made: set[str] = field(default_factory=set)
    items: dict[str, set[int]] = field(default_factory=dict)

    def expand(self, one: PlannedPart) -> list[Task]:
        count = one.items.count if one.items else 0
        missing = [n for n in range(count) if n not in self.items.get(one.fingerprint, set())]
        return [
            Task(f"{one.fingerprint}/{n}", one, "f", ({"index": n},), 1, merges=False)
            for n in missing
        ] or [Task(one.fingerprint, one, "f", ({},), 1, merges=True)]

    def rest_of(self, task: Task) -> Task | None:
        done = self.items.get(task.part.fingerprint, set())
        return task if task.merges or task.requests[0]["index"] not in done else None

    def carry_out(self, task: Task) -> None:
        if task.merges:
            self.made.add(task.part.fingerprint)
        else:
            done = self.items.setdefault(task.part.fingerprint, set())
            done.add(task.requests[0]["index"])


@st.composite
def plans(draw: st.DrawFn) -> list[PlannedPart]:
    parts: list[PlannedPart] = []
    for number in range(draw(st.integers(1, 12))):
        names = [p.fingerprint for p in parts]
        needs = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
        items = draw(st.integers(0, 4))
        parts.append(part(f"p{number}", tuple(needs), items, draw(st.sampled_from(LANES))))
    return parts


def out_of_reach(plan: list[PlannedPart], lost: set[str]) -> set[str]:
    gone = set(lost)
    for one in plan:  # in order of dependence
        if one.needs & gone:
            gone.add(one.fingerprint)
    return gone


@given(plan=plans(), data=st.data())
def test_all_that_can_be_made_is_made_once_and_after_what_it_needs(
    plan: list[PlannedPart], data: st.DataObject
) -> None:
    world, lost, flight = World(), set[str](), list[Task]()
    names = st.sampled_from([p.fingerprint for p in plan])
    for name in data.draw(st.sets(names, max_size=2), label="quarantined before"):
        lost.add(name)
    frontier = Frontier(plan, (), lost, world.expand, world.rest_of, lambda one: one.role)
    for _ in range(400):
        heads = frontier.heads()
        assert len({head.part.role for head in heads}) == len(heads)
        if heads and (not flight or data.draw(st.booleans(), label="hand out")):
            task = data.draw(st.sampled_from(heads), label="which")
            frontier.take(task)
            assert task.name not in {other.name for other in flight}
            assert task.part.needs <= world.made
            assert task.part.fingerprint not in world.made
            if task.merges and task.part.items:
                assert len(world.items[task.part.fingerprint]) == task.part.items.count
            flight.append(task)
            continue
        if not flight:
            break
        task = flight.pop(data.draw(st.integers(0, len(flight) - 1), label="comes back"))
        fate = data.draw(st.sampled_from(["done", "done", "done", "again", "lost"]), label="fate")
        if fate == "lost":
            lost.add(task.part.fingerprint)
            frontier.give_up(task.part.fingerprint)
        elif fate == "again":
            frontier.again(task)
        else:
            world.carry_out(task)
            if task.merges:
                frontier.made(task.part.fingerprint)
            else:
                frontier.finished(task)
    else:
        return  # it drew "again" too often to come to an end
    reachable = {p.fingerprint for p in plan} - out_of_reach(plan, lost)
    assert reachable <= world.made
    assert not world.made & out_of_reach(plan, lost) - lost
    assert frontier.open_parts == []


def test_what_comes_first_is_handed_out_first_in_its_lane() -> None:
    world = World()
    plan = [part("a", role="gpu"), part("b", items=2), part("c"), part("d", role="gpu")]
    frontier = Frontier(plan, (), (), world.expand, world.rest_of, lambda one: one.role)
    order: dict[str, list[str]] = {lane: [] for lane in LANES}
    while heads := frontier.heads():
        for task in heads:
            frontier.take(task)
            order[task.part.role].append(task.name)
    assert order == {"gpu": ["a", "d"], "cpu": ["b/0", "b/1", "c"]}


def test_a_part_is_looked_at_when_its_turn_comes_and_never_again() -> None:
    world, looked = World(), list[str]()
    plan = [part(f"p{n}") for n in range(500)]

    def expand(one: PlannedPart) -> list[Task]:
        looked.append(one.fingerprint)
        return world.expand(one)

    frontier = Frontier(plan, (), (), expand, world.rest_of, lambda one: one.role)
    assert looked == []
    while heads := frontier.heads():
        (task,) = heads
        assert looked[-1] == task.part.fingerprint
        frontier.take(task)
        frontier.made(task.part.fingerprint)
    assert looked == [one.fingerprint for one in plan]
