"""Node-hours, files and bytes before they are spent: laws of rates, sums, shares, comparisons."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.costs import shapes
from campaign.costs.benchmark import Benchmark, benchmark_of, keep_benchmark, kept_benchmark
from campaign.costs.cost import Cost, cost_of, node_share, unpriced
from campaign.costs.effort import effort_of, family_of
from campaign.costs.lines import Line, Machine, adapted, label_line, line_through
from campaign.costs.prediction import foresee, predicted_cost
from campaign.costs.ranges import Range, total
from campaign.costs.rates import Observation, Rates, observations, rate_range, recent_rows
from campaign.costs.todo import todo_of
from campaign.ledger import Ledger
from campaign.plan.build import Plan, build_plan
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.report.predicted import ALL, predicted_rows
from campaign.sites.site import SITES, Site
from campaign.spec.model import CampaignSpec, parse_spec
from campaign.workspace import Workspace
from data_store.parts import write_part
from data_store.work import save_item
from tests.e2e.tiny import TINY

Row = dict[str, Any]
SECONDS = {"sample": 0.02, "finetune": 0.1, "simulate": 0.01, "label": 3.0, "pretrain": 0.05}
"""Of a unit, where a test gives every stage a rate of its own."""


def spec(**changes: Any) -> CampaignSpec:
    tables = tomllib.loads(TINY)
    for key, value in changes.items():
        table, name = key.split("__")
        tables.setdefault(table, {})[name] = value
    return parse_spec(tables, "test", Path())


def plan(**changes: Any) -> Plan:
    return build_plan(spec(**changes))


def machine(workers: int = 4) -> Site:
    return SITES["local"].model_validate(
        {"site": {"name": "here"}, "pools": {"cpu": {"workers_per_node": workers}}}
    )


def cluster() -> Site:
    pool = {"walltime": "01:00:00", "workers_per_node": 8, "max_blocks": 3}
    pools = {"cpu": {**pool, "nodes_per_block": 2}, "mpi": {**pool, "nodes_per_block": 5}}
    return SITES["slurm"].model_validate(
        {"site": {"name": "there", "scheduler": "slurm"}, "pools": pools}
    )


def rates_of(parts: Iterable[PlannedPart], site: str = "here") -> Rates:
    """Rates that know every kind of work, from many observations that all agree."""
    seen = []
    for part in parts:
        for effort in (effort_of(part), *([effort_of(part, 3)] if part.items else [])):
            seconds = SECONDS.get(part.stage, 0.2) * effort.amount
            seen += [Observation(effort.kind, effort.amount, seconds, site)] * 8
    return Rates(seen, site)


def cost(of: Plan, site: Site, workspace: Workspace) -> Cost:
    rates = rates_of(of.parts, site.site.name)
    return cost_of(todo_of(of.parts, workspace), site, rates)


def hours(found: Cost) -> dict[str, Range | None]:
    return {stage.stage: stage.node_hours for stage in found.stages}


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


# Ranges


@given(st.floats(0, 1e6), st.floats(1, 50), st.floats(1, 50), st.floats(0, 100))
def test_a_range_stays_one_whatever_is_done_to_it(
    expected: float, below: float, above: float, factor: float
) -> None:
    found = Range.about(expected, below, above).times(factor) + Range(0.0, 1.0, 2.0)
    assert 0.0 <= found.low <= found.expected <= found.high
    assert found.holds(found.expected)
    assert total([found, found]) == found.times(2.0)


@pytest.mark.parametrize("three", [(2.0, 1.0, 3.0), (0.0, 4.0, 3.0), (-1.0, 0.0, 1.0)])
def test_what_is_no_range_is_refused(three: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="low <= expected <= high"):
        Range(*three)


# Kinds of work


@pytest.mark.parametrize(
    ("change", "stage", "times"),
    [
        ({"pretraining__steps": 500}, "pretrain", 2.0),
        ({"finetuning__steps": 200}, "finetune", 2.0),
        ({"finetuning__learning_rates": [1e-3, 2e-3, 3e-3]}, "finetune", 3.0),
        ({"dynamics__length_ps": 1.5}, "simulate", 3.0),
        ({"sampling__chunk_structures": 32}, "sample", 0.5),
        ({"labels__candidates": 48}, "candidates", 2.0),
    ],
)
def test_more_of_the_same_is_of_the_same_kind(
    change: dict[str, Any], stage: str, times: float
) -> None:
    before, after = (effort_of(found.of(stage)[0]) for found in (plan(), plan(**change)))
    assert after.kind == before.kind
    assert after.amount == pytest.approx(times * before.amount)


@pytest.mark.parametrize(
    ("change", "stage", "same_family"),
    [
        ({"pretraining__ranks": 1}, "pretrain", False),
        ({"potential__size": "medium"}, "pretrain", False),
        ({"finetuning__batch_size": 8}, "finetune", False),
        ({"system__smiles": "CO"}, "simulate", False),
        ({"finetuning__pools": [9]}, "finetune", True),
        ({"dynamics__temperatures_K": [600]}, "simulate", True),
        ({"dynamics__replicas": 4}, "simulate", True),
        ({"labels__basis": "def2-SVP"}, "label", False),
    ],
)
def test_what_decides_the_price_of_a_unit_is_another_kind(
    change: dict[str, Any], stage: str, same_family: bool
) -> None:
    before, after = (effort_of(found.of(stage)[0]) for found in (plan(), plan(**change)))
    assert after.kind != before.kind
    assert (family_of(after.kind) == family_of(before.kind)) == same_family


def test_seeds_and_siblings_are_of_one_kind() -> None:
    whole = plan(finetuning__seeds=[0, 1], dynamics__block_replicas=4)
    assert len({effort_of(part).kind for part in whole.of("finetune")}) == 1
    assert len({effort_of(part).kind for part in whole.of("sample")}) == 1
    arms = {(p.key["arm"], p.key["temperature_K"]) for p in whole.of("simulate")}
    assert len({effort_of(part).kind for part in whole.of("simulate")}) == len(arms) == 4


# Rates


def launched(site: str = "here") -> Row:
    return {"event": "launched", "site": site}


def submitted(task: str, amount: float = 10.0, unit: str = "steps", kind: str = "f k") -> Row:
    effort = {"kind": kind, "unit": unit, "amount": amount}
    return {"event": "submitted", "task": task, "stage": "finetune", "effort": effort}


def result(task: str, seconds: float | None, outcome: str = "done", stage: str = "finetune") -> Row:
    row: Row = {"event": "result", "task": task, "stage": stage, "outcome": outcome}
    return row if seconds is None else {**row, "resources": {"wall_s": seconds}}


STORIES: dict[str, tuple[list[Row], list[tuple[float, float]]]] = {
    "whole": ([submitted("a"), result("a", 5.0)], [(10.0, 5.0)]),
    "continued": (
        [submitted("a"), result("a", 3.0, "continue"), submitted("a"), result("a", 4.0)],
        [(10.0, 7.0)],
    ),
    "labels continued": (
        [
            submitted("a", 3.0, "labels"), result("a", 2.0, "continue"),
            submitted("a", 1.0, "labels"), result("a", 1.0),
        ],
        [(3.0, 3.0)],
    ),
    "driver killed": ([submitted("a"), launched(), submitted("a"), result("a", 1.0)], []),
    "labels after a kill": (
        [submitted("a", 3.0, "labels"), submitted("a", 1.0, "labels"), result("a", 2.0)],
        [(1.0, 2.0)],
    ),
    "worker lost": (
        [submitted("a"), result("a", None, "lost"), submitted("a"), result("a", 1.0)], [],
    ),
    "failed first": (
        [submitted("a"), result("a", 9.0, "failed_software"), submitted("a"), result("a", 1.0)],
        [],
    ),
    "lost, then made anew": (
        [
            submitted("a"), result("a", None, "lost"), submitted("a"), result("a", 1.0),
            submitted("a"), result("a", 6.0),
        ],
        [(10.0, 6.0)],
    ),
    "older versions": ([{"event": "submitted", "task": "a"}, result("a", 5.0)], []),
}  # fmt: skip


@pytest.mark.parametrize("story", sorted(STORIES))
def test_only_what_was_seen_whole_is_a_rate(story: str) -> None:
    rows, expected = STORIES[story]
    found = list(observations([launched(), *rows]))
    assert [(one.amount, one.seconds) for one in found] == expected


def test_rates_of_a_ledger_are_recovered(tmp_path: Path) -> None:
    """A real file, with a torn line, in which every second of two kinds of work is known."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.write("launched", site="here")
        for number in range(6):
            for kind, rate in (("f a", 0.5), ("f b", 2.0)):
                task, amount = f"{kind}{number}", 10.0 * (1 + number)
                effort = {"kind": kind, "unit": "steps", "amount": amount}
                ledger.write("submitted", task=task, stage="finetune", effort=effort)
                spent = {"wall_s": rate * amount}
                ledger.write("result", task=task, stage="finetune", outcome="done", resources=spent)
        ledger.write("submitted", task="other", stage="sample")
    path.write_bytes(path.read_bytes() + b'{"event": "result", "stage": "finetune", "tas')
    rows = recent_rows(path, {"finetune"})
    assert {row["event"] for row in rows} == {"launched", "submitted", "result"}
    rates = Rates(observations(rows), "here")
    for kind, rate in (("f a", 0.5), ("f b", 2.0)):
        found = rates.of(kind, 3)
        assert found is not None
        assert found.seconds.expected == pytest.approx(rate)
        assert (found.basis, found.same_kind) == ("ledger, 6 tasks", True)
        assert found.seconds.high / rate == pytest.approx(1.15), "they agree: no other scatter"
    assert rates.of("g a", 3) is None
    other = rates.of("f c", 3)
    assert other is not None
    assert not other.same_kind
    assert other.seconds.low < 0.5 < 2.0 < other.seconds.high, "all that was seen, and wider"
    assert "of other kinds" in other.basis


def test_another_sites_rates_are_said_to_be_and_give_way() -> None:
    there = [Observation("f k", 1.0, 1.0, "there")] * 4
    only, both = Rates(there, "here"), Rates([*there, Observation("f k", 1.0, 9.0, "here")], "here")
    found, own = only.of("f k", 1), both.of("f k", 1)
    assert found is not None
    assert own is not None
    assert "on site there" in found.basis
    assert own.seconds.expected == 9.0
    alike = Rates(there, "there").of("f k", 1)
    assert alike is not None
    assert found.seconds.low < alike.seconds.low < alike.seconds.high < found.seconds.high


def coverage(interval: Callable[[list[Observation], int], Range]) -> float:
    """How often the mean of tasks to come lies in the range that earlier ones gave."""
    rng, held = np.random.default_rng(7), 0
    for _ in range(400):
        drawn = np.exp(rng.normal(scale=0.5, size=16))
        seen = [Observation("f k", 1.0, float(seconds), "here") for seconds in drawn[:6]]
        held += interval(seen, 10).holds(float(drawn[6:].mean()))
    return held / 400


def test_a_range_holds_the_tasks_to_come_and_one_too_narrow_does_not() -> None:
    def narrow(seen: list[Observation], to_come: int) -> Range:
        found = rate_range(seen, to_come)
        factor = (found.high / found.expected) ** 0.4
        return Range.about(found.expected, factor, factor)

    assert coverage(rate_range) > 0.83
    assert coverage(narrow) < 0.70


# Sums


@pytest.mark.parametrize("site", [machine(), cluster()], ids=["machine", "cluster"])
def test_node_hours_grow_as_the_items_do(site: Site, empty: Workspace) -> None:
    few = hours(cost(plan(finetuning__seeds=[0]), site, empty))
    many = hours(cost(plan(finetuning__seeds=[0, 1, 2]), site, empty))
    for stage, times in (("finetune", 3.0), ("simulate", 3.0), ("pretrain", 1.0), ("sample", 1.0)):
        before, after = few[stage], many[stage]
        assert before is not None
        assert after is not None
        assert after.expected == pytest.approx(times * before.expected)
    labels = hours(cost(plan(labels__count=24, labels__candidates=40), site, empty))["label"]
    assert labels is not None
    share = node_share("label", 1, site)
    assert labels.expected == pytest.approx((24 * 3.0 + 3.0) * share / 3600.0)


def test_what_is_made_costs_nothing(empty: Workspace) -> None:
    whole = plan(finetuning__seeds=[0, 1])
    before = cost(whole, machine(), empty)
    label = whole.the("label")
    assert label.items is not None
    for index in range(5):
        work = empty.work / label.items.fingerprint
        save_item(work, f"{index:06d}", {"energy": np.zeros(1)}, {})
    first = whole.of("finetune")[0]
    write_part(empty.parts, first.stage, first.fingerprint, {}, {})
    after = cost(whole, machine(), empty)
    assert stage_of(after, "label").units == 7
    assert stage_of(after, "finetune").units == stage_of(before, "finetune").units * 3 / 4
    for part in whole.parts:
        write_part(empty.parts, part.stage, part.fingerprint, {}, {})
    nothing = cost(whole, machine(), empty)
    assert not nothing.stages
    assert not nothing.pools
    assert nothing.node_hours == Range(0.0, 0.0, 0.0)


def stage_of(found: Cost, name: str) -> Any:
    return next(stage for stage in found.stages if stage.stage == name)


def test_a_task_takes_the_share_of_its_workers() -> None:
    assert node_share("finetune", 1, machine(4)) == 0.25
    assert node_share("pretrain", 2, machine(4)) == 0.5
    assert node_share("pretrain", 9, machine(4)) == 1.0
    assert node_share("finetune", 1, cluster()) == 1 / 8
    assert node_share("pretrain", 2, cluster()) == 5.0, "a job over ranks has its block to itself"


def test_pools_take_more_than_their_tasks(empty: Workspace) -> None:
    found = cost(plan(), cluster(), empty)
    assert {pool.pool for pool in found.pools} == {"cpu", "mpi"}
    for pool in found.pools:
        assert pool.blocks is not None
        assert 1 <= pool.blocks <= 3
        assert pool.start_up.low == 0.0 < pool.start_up.expected < pool.start_up.high
    work = total(stage.node_hours for stage in found.stages if stage.node_hours)
    assert found.node_hours.expected > work.expected
    assert found.node_hours.low == pytest.approx(work.low)
    # One task on a machine of four workers leaves three without work.
    alone = Plan(plan().spec, (plan().the("candidates"),))
    (pool,) = cost(alone, machine(4), empty).pools
    (stage,) = cost(alone, machine(4), empty).stages
    assert stage.node_hours is not None
    assert pool.idle.expected == pytest.approx(3 * stage.node_hours.expected)


def test_what_is_not_known_is_said_and_not_counted(empty: Workspace) -> None:
    whole = plan()
    todo, nothing = todo_of(whole.parts, empty), Rates([], "here")
    lacking = {one.example.stage for one in unpriced(todo, nothing)}
    assert lacking == {"sample", "candidates", "pretrain", "label", "finetune", "probe", "simulate"}
    found = cost_of(todo, machine(), nothing)
    assert set(found.unknown) == lacking
    assert all("unknown" in " ".join(stage_of(found, name).basis) for name in lacking)
    assert found.to_json()["stages"][1]["node_hours"] is None
    assert not unpriced(todo, rates_of(whole.parts))
    json.dumps(found.to_json(), allow_nan=False)


def test_arms_that_were_not_seen_may_fail_at_once(empty: Workspace) -> None:
    whole = plan()
    seen = [part for part in whole.parts if part.key.get("arm") != "scratch"]
    todo = [one for one in todo_of(whole.parts, empty) if one.example.stage == "simulate"]
    found = cost_of(todo, machine(), rates_of(seen)).stages[0].node_hours
    known = cost_of(todo, machine(), rates_of(whole.parts)).stages[0].node_hours
    assert found is not None
    assert known is not None
    assert found.expected == pytest.approx(known.expected)
    assert found.low < 0.7 * known.low


# The benchmark


def test_a_line_goes_through_its_trials() -> None:
    line = line_through([(3.0, 1.3), (13.0, 2.3)])
    assert line.fixed_s == pytest.approx(1.0)
    assert line.unit_s == pytest.approx(0.1)
    assert line.seconds(3.0).expected == pytest.approx(1.3)
    # Where more took less, the time counts by the unit: never negative.
    assert line_through([(3.0, 2.0), (6.0, 1.5)]) == Line(0.0, 0.25)
    alone = line_through([(6.0, 1.5)])
    assert (alone.fixed_s, alone.unit_s, alone.note) == (0.0, 0.25, "one short trial")
    assert alone.seconds(100.0).low < Line(0.0, 0.25).seconds(100.0).low
    assert not line_through([(1.0, 1.5)]).note, "a part is a part"
    assert line_through([(1.0, 0.1), (10.0, 10.0)]) == Line(0.0, 1.0)


def test_a_label_that_is_too_long_is_scaled_and_said_to_be() -> None:
    water = {"own": False, "seconds": 0.5, "electrons": 10, "molecule_electrons": 94}
    scaled = label_line([water], waited_s=7.0)
    own = label_line([water, {**water, "own": True, "seconds": 20.0}], waited_s=7.0)
    assert label_line([], 7.0) is None
    assert scaled is not None
    assert own is not None
    assert own.unit_s == 20.0
    assert "not measured" in scaled.note
    assert scaled.above * scaled.below > own.above * own.below
    # Less than was waited for in vain, it cannot be.
    for electrons in (2, 12):
        small = label_line([{**water, "molecule_electrons": electrons}], waited_s=7.0)
        assert small is not None
        assert small.unit_s == small.seconds(1.0).expected == 7.0
    least = label_line([{**water, "molecule_electrons": 2}], waited_s=0.0)
    assert least is not None
    assert least.seconds(1.0).low < least.seconds(1.0).high < 0.5


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        (Machine(elsewhere=True), "sample"),
        (Machine(gpus=True), "finetune"),
        (Machine(compiles=True), "pretrain"),
        (Machine(compiles=True, tried_on_gpu=True), "pretrain"),
        (Machine(), "simulate"),
    ],
)
def test_what_is_less_sure_is_wider_and_says_why(change: Machine, stage: str) -> None:
    line = Line(0.0, 1.0)
    found = adapted(line, stage, change)
    assert found.note
    assert found.above * found.below > line.above * line.below
    assert found.seconds(1e6).high >= line.seconds(1e6).high * 0.99, "it may be as slow as it was"
    assert adapted(line, "sample", Machine()) == line
    assert adapted(line, "pretrain", Machine(starts_s=4.0)).fixed_s == 4.0


TOLD: list[Row] = [
    {"atoms": 3, "parameters": 52_321, "gpu": False, "compiled": ["simulate"]},
    {"imports_s": 2.0},
    {"function": STAGES["finetune"].function, "amount": 3.0, "seconds": 0.4},
    {"function": STAGES["finetune"].function, "amount": 13.0, "seconds": 1.4},
    {"function": STAGES["sample"].function, "failed": "out of luck"},
]


def benchmark(site: Site, families: Iterable[str]) -> Benchmark:
    return benchmark_of(TOLD, spec(), site, sorted(families))


def test_a_benchmark_holds_for_its_families_alone(empty: Workspace) -> None:
    todo = [one for one in todo_of(plan().parts, empty) if one.example.stage == "finetune"]
    found = benchmark(machine(), {family_of(one.kind) for one in todo})
    (priced,) = cost_of(todo, machine(), Rates([], "here"), found).stages
    assert priced.node_hours is not None
    assert "benchmark" in priced.basis[0]
    (other,) = cost_of(todo, machine(), Rates([], "here"), benchmark(machine(), [])).stages
    assert other.node_hours is None
    seen = rates_of([one.example for one in todo])
    assert cost_of(todo, machine(), seen, found).stages[0].basis == ("ledger, 8 tasks",)


def test_a_failed_trial_says_why(empty: Workspace) -> None:
    todo = [one for one in todo_of(plan().parts, empty) if one.example.stage == "sample"]
    found = benchmark(machine(), {family_of(one.kind) for one in todo})
    (stage,) = cost_of(todo, machine(), Rates([], "here"), found).stages
    assert stage.node_hours is None
    assert "out of luck" in stage.basis[0]


def test_what_a_plan_measured_is_kept_for_launches_on_its_site(
    empty: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole = plan()
    families = {family_of(effort_of(part).kind) for part in whole.parts}
    measured = benchmark(machine(), families)
    monkeypatch.setattr("campaign.costs.prediction.run_benchmark", lambda *_: measured)
    assert predicted_cost(whole.parts, empty, machine()).unknown
    foreseen = foresee(whole, empty, machine())
    assert not empty.root.exists(), "nothing is written into the workspace"
    launch = predicted_cost(whole.parts, empty, machine())
    assert hours(launch) == hours(foreseen.cost)
    assert hours(launch)["finetune"] is not None
    assert hours(predicted_cost(whole.parts, empty, cluster()))["finetune"] is None
    # What was changed since is not predicted by it; what is made is not predicted at all.
    changed = predicted_cost(plan(finetuning__batch_size=2).parts, empty, machine())
    assert hours(changed)["finetune"] is None
    for part in whole.parts:
        write_part(empty.parts, part.stage, part.fingerprint, {}, {})
    assert predicted_cost(whole.parts, empty, machine()).stages == ()
    assert kept_benchmark(empty, "here") == measured
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_text(file.read_text()[:-40])
    assert kept_benchmark(empty, "here") is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    keep_benchmark(empty, measured)
    assert kept_benchmark(empty, "here") is None


# Files and bytes


def test_every_stage_has_a_size() -> None:
    assert set(shapes._SIZES) == set(STAGES)
    whole = plan(control__method="gfn2-xtb", active_learning__label_budget=9,
                 active_learning__replicas=4)  # fmt: skip
    for part in whole.parts:
        small, large = (shapes.part_size(part, *known) for known in ((3, 50_000), (21, 400_000)))
        assert 0 < small.bytes <= large.bytes
        assert 0 < small.files <= large.files


def test_what_lies_there_is_measured(empty: Workspace) -> None:
    from campaign.costs.storage import storage_of

    whole = plan(finetuning__seeds=[0, 1])
    first = whole.of("finetune")[0]
    made = write_part(
        empty.parts, first.stage, first.fingerprint, {}, {}, files={"model": b"x" * 5000}
    )
    save_item(empty.work / first.fingerprint, "checkpoint", {"w": np.zeros(100)}, {})
    there = [p for p in (*made.path.rglob("*"), *empty.work.rglob("*")) if p.is_file()]
    stages = {s.stage: s for s in storage_of(whole.parts, empty, 3, 50_000).stages}
    found = stages["finetune"]
    assert found.basis == "measured"
    assert (found.files_now, found.bytes_now) == (len(there), sum(p.stat().st_size for p in there))
    assert (found.files, found.bytes) == (4 * found.files_now, 4 * found.bytes_now)
    assert stages["sample"].basis == "computed from shapes"
    assert stages["sample"].bytes_now == 0 < stages["sample"].bytes
    blind = storage_of(whole.parts, empty, 0, 0).stages[0]
    assert "not being known" in blind.basis


# Predicted and taken


def predicted(units: float, expected: float | None, share: float = 0.5) -> Row:
    found = None if expected is None else Range.about(expected, 2.0, 2.0).to_json()
    stage = {
        "stage": "finetune", "unit": "steps", "units": units, "share": share, "node_hours": found,
        "basis": ["said"],
    }  # fmt: skip
    everything = Range.about(expected or 0.0, 2.0, 3.0).to_json()
    unknown = ["finetune"] if expected is None else []
    return {
        "event": "predicted", "stages": [stage], "total_node_hours": everything, "unknown": unknown
    }  # fmt: skip


def ended(seconds: float, complete: bool = True) -> Row:
    return {"event": "ended", "complete": complete, "wall_s": seconds}


def test_a_prediction_is_compared_with_what_was_taken() -> None:
    rows = [launched(), predicted(20.0, 1.0)]
    for task in "ab":
        rows += [submitted(task), result(task, 3600.0)]
    stage, everything = predicted_rows([*rows, ended(4000.0)])
    assert stage["predicted_node_hours"] == {"low": 0.5, "expected": 1.0, "high": 2.0}
    assert (stage["node_hours"], stage["ratio"], stage["within"]) == (1.0, 1.0, True)
    assert everything["stage"] == ALL
    assert everything["node_hours"] == pytest.approx(4000 / 3600, rel=1e-5)


def test_a_launch_that_was_stopped_is_held_to_what_it_did() -> None:
    half = [launched(), predicted(20.0, 1.0), submitted("a"), result("a", 7200.0)]
    (stage,) = predicted_rows(half)
    assert stage["predicted_node_hours"]["expected"] == 0.5
    assert (stage["ratio"], stage["within"]) == (2.0, True)
    (stage,) = predicted_rows([*half[:-1], result("a", 7300.0)])
    assert stage["within"] is False, "and it says so"
    rest = [launched(), predicted(10.0, 0.25), submitted("b"), result("b", 1800.0), ended(2000.0)]
    stage, everything = predicted_rows([*half, *rest])
    assert stage["predicted_node_hours"]["expected"] == 0.75
    assert stage["node_hours"] == 1.25
    assert everything["predicted_node_hours"]["expected"] == 0.25
    assert "1 of 2 launches" in everything["note"]


def test_what_was_not_predicted_is_said() -> None:
    work = [submitted("a"), result("a", 60.0), submitted("b"), result("b", None, "lost")]
    for before in ([launched()], [launched(), predicted(20.0, None)]):
        (stage,) = predicted_rows([*before, *work, *([ended(1.0)] if len(before) == 2 else [])])
        assert stage["predicted_node_hours"] is stage["ratio"] is stage["within"] is None
        assert "no prediction in 1 of 1 launches" in stage["note"]
        assert "did not tell what they took: 1" in stage["note"]
    later = [launched(), predicted(10.0, 0.5), submitted("c"), result("c", 3600.0)]
    (stage,) = predicted_rows([launched(), *work, *later])
    assert stage["ratio"] == 1.0
    assert "no prediction in 1 of 2 launches" in stage["note"]
    assert predicted_rows([]) == []


def test_all_together_counts_the_blocks_of_a_cluster() -> None:
    block = {"job": "7", "pool": "cpu", "nodes": 2, "unix": 0.0}
    rows = [
        launched(), predicted(10.0, 1.0), {**block, "event": "block_submitted", "walltime_s": 9e3},
        submitted("a"), result("a", 3600.0),
        {**block, "event": "block_ended", "state": "completed", "elapsed_s": 5400.0, "reason": ""},
    ]  # fmt: skip
    _, everything = predicted_rows([*rows, ended(9000.0)])
    assert everything["node_hours"] == 3.0
    assert everything["within"] is True


def test_a_stage_cost_is_plain_data(empty: Workspace) -> None:
    found = cost(plan(), machine(), empty)
    again = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [stage["stage"] for stage in again["stages"]] == [s.stage for s in found.stages]
    fields = {field.name for field in dataclasses.fields(found.stages[0])}
    assert set(again["stages"][0]) == fields
