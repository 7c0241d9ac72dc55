"""Active learning as planned, and its tasks: what a round adds, and what one after the end does."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.contract import Request
from apps.labeling.rounds import label_picks, merge_picks
from apps.rounds import COMPUTED, Standing
from apps.selection.rounds import begin, exploring_starts, take_withheld
from apps.selection.settings import ActiveLearningSettings
from campaign.plan.active import ARM, budgets
from campaign.plan.build import Plan, build_plan
from campaign.report.active import asked_beyond, calls_of, mean_calls, round_rows
from campaign.report.inputs import Model
from campaign.report.results import report_json
from campaign.report.write import write_report
from campaign.spec.model import parse_spec
from campaign.templates import templates
from campaign.workspace import Workspace
from data_store.columns import Column
from data_store.errors import InputError
from data_store.parts import Part, open_part, write_part
from data_store.splits import validation_count
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures
from data_store.work import item_key, save_item
from tests.e2e.tiny import TINY
from tests.unit import pages
from tests.unit.test_report import inputs

TABLE: dict[str, Any] = {
    "label_budget": 18, "labels_per_round": 4, "replicas": 4, "length_ps": 0.1,
}  # fmt: skip


def plan(table: dict[str, Any] | None = None, **changes: Any) -> Plan:
    tables = tomllib.loads(TINY)
    tables |= {} if table is None else {"active_learning": table}
    for key, value in changes.items():
        name, _, field = key.partition("__")
        tables[name][field] = value
    return build_plan(parse_spec(tables, "test", Path()))


def prints(which: Plan) -> set[str]:
    return {part.fingerprint for part in which.parts}


def test_a_campaign_without_the_table_is_what_it_was_and_the_table_only_adds() -> None:
    without, with_it = plan(), plan(TABLE)
    assert prints(without) < prints(with_it)
    added = {part.stage for part in with_it.parts if part.fingerprint not in prints(without)}
    assert added == {
        "acquire", "explore_starts", "committee", "explore", "pick", "finetune", "probe",
        "simulate",
    }  # fmt: skip
    assert not without.of("acquire")


def test_a_plan_holds_each_part_once_after_what_it_needs() -> None:
    for table in (TABLE, {**TABLE, "examine": "each_round"}):
        for arms in (["scratch"], ["pretrained"], ["pretrained", "scratch"]):
            seen: set[str] = set()
            for part in plan(table, finetuning__arms=arms, finetuning__seeds=[0, 1]).parts:
                assert part.needs <= seen, part.label
                assert part.fingerprint not in seen, part.label
                seen.add(part.fingerprint)


def test_rounds_fill_the_budget_and_no_more() -> None:
    found = plan(TABLE)
    assert budgets(found.spec) == [8, 12, 16, 18]
    counts = [part.items.count for part in found.of("acquire") if part.items]
    assert counts == [4, 4, 2]
    assert [part.settings["count"] for part in found.of("pick")] == counts
    assert [part.key["labels"] for part in found.of("finetune", arm=ARM)] == [12, 16, 18]
    assert {part.key["labels"] for part in found.of("simulate", arm=ARM)} == {18}
    rounds = plan({**TABLE, "examine": "each_round"})
    assert {part.key["labels"] for part in rounds.of("simulate", arm=ARM)} == {12, 16, 18}
    assert budgets(plan().spec) == [8]


def test_the_arm_is_trained_as_the_others_are_and_its_first_model_is_that_of_scratch() -> None:
    found = plan(TABLE)
    (scratch,) = found.of("finetune", arm="scratch")
    for model in (*found.of("finetune", arm=ARM), *found.of("committee")):
        assert model.settings == scratch.settings
        assert "checkpoint" not in model.inputs
    first = [p for p in found.of("explore") if p.key["labels"] == 8]
    assert {p.inputs["model"] for p in first} == {(scratch.fingerprint,)}
    alone = plan(TABLE, finetuning__arms=["pretrained"])
    assert [part.key["labels"] for part in alone.of("finetune", arm=ARM)] == [8, 12, 16, 18]


def test_labels_of_rounds_are_by_the_method_and_within_the_limits_of_the_others() -> None:
    limits = {"labels__limit_s": 30.0, "labels__limit_memory_MB": 900.0}
    found, before = plan(TABLE, **limits), plan(TABLE)
    label = found.the("label")
    for part in found.of("acquire"):
        if part.items:
            assert part.settings == label.settings | {"count": part.items.count}
    assert prints(found) == prints(before), "limits are resources"
    assert prints(plan(TABLE, finetuning__checkpoint_every_s=9.0)) == prints(before)
    assert prints(plan(TABLE, dynamics__checkpoint_every_s=9.0)) == prints(before)


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"stop_rate_per_ns": 1e4}, {"pick", "acquire", "committee", "finetune", "simulate"}),
        ({"distinct_per_A": 0.1}, {"pick"}),
        ({"replicas": 3}, {"explore", "pick"}),
        ({"length_ps": 0.2}, {"explore", "pick"}),
    ],
)
def test_a_setting_changes_what_depends_on_it(change: dict[str, Any], stages: set[str]) -> None:
    before, after = plan(TABLE), plan({**TABLE, **change})
    changed = {part.stage for part in after.parts if part.fingerprint not in prints(before)}
    assert stages <= changed
    assert not changed & {"sample", "label", "split", "starts", "explore_starts"}
    for arm in ("pretrained", "scratch"):
        assert all(p.fingerprint in prints(before) for p in after.of("simulate", arm=arm))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"initial_labels": 9}, "one of finetuning.pools"),
        ({"label_budget": 8}, "more than the initial labels, 8"),
        ({"label_budget": None}, "(the largest of finetuning.pools)"),
        ({"replicas": 9}, "at most dynamics.block_replicas = 8"),
        ({"length_ps": 0.1003}, "whole number of time steps"),
        ({"stop_rate_per_ns": 7000.0}, "show no smaller rate even where none fails"),
        ({"disagreement_eV_per_A": [2.0, 1.0]}, "the first must be the smaller"),
        ({"committee": 1}, "greater than or equal to 2"),
        ({"max_rounds": 3}, "unknown key"),
    ],
)
def test_what_cannot_be_is_refused_in_words(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        plan({k: v for k, v in {**TABLE, **change}.items() if v is not None})
    assert told in str(error.value)
    assert "active_learning" in str(error.value)


def test_what_the_page_and_the_template_show_can_be_asked_for(tmp_path: Path) -> None:
    template = templates()["aspirin-exam-small"]
    commented = template[template.index("# [active_learning]") :].replace("# ", "")
    page = (pages.DOCS / "active_learning.md").read_text()
    shown = pages.blocks(page, "toml")["campaign.toml"]
    for name in ("labels.extxyz", "test.extxyz"):
        (tmp_path / name).touch()
    for text in (commented, shown):
        spec = parse_spec(tomllib.loads(template + text), "test", tmp_path)
        assert budgets(spec) == [25, 50, 75, 100]
        models = {p.key["labels"] for p in build_plan(spec).of("simulate", arm=ARM)}
        assert models == {50, 75, 100}, "examined after each round; scratch stands for the first"
    assert all(key in page for key in ActiveLearningSettings.model_fields)


# Tasks


def molecules(count: int, first: float = 1.0) -> Structures:
    """Diatomics told apart by their length, labelled by it."""
    x = np.zeros((count, 2, 3))
    x[:, 1, 0] = first + 1e-2 * np.arange(count)
    return Structures.from_dense([8, 1], x, energies=x[:, 1, 0], forces=np.zeros_like(x))


def made(task: Any, root: Path, inputs: dict[str, list[Part]], **more: Any) -> Part:
    paths = {role: [str(part.path) for part in parts] for role, parts in inputs.items()}
    name = f"{task.__name__}-{more.get('key')}"
    request = Request(
        str(root), str(root / "work"), "stage", name, more.get("settings", {}), 3,
        key=more.get("key", {}), inputs=paths,
    )  # fmt: skip
    result = task(request.to_json())
    assert result["outcome"] == "done", result
    assert task(request.to_json())["digest"] == result["digest"]
    return open_part(Path(result["path"]))


def split_of(root: Path, train: list[int], validation: list[int], test: list[int]) -> Part:
    sides = {"train": train, "validation": validation, "test": test}
    columns = {name: Column(np.array(rows, dtype=np.int64)) for name, rows in sides.items()}
    return write_part(root, "split", "split", columns, {})


def labels_of(root: Path) -> Part:
    return write_part(root, "label", "label", structures_to_columns(molecules(30)), {})


def picks_of(root: Path, lengths: list[float], over: str = "") -> Part:
    x = np.zeros((len(lengths), 2, 3), np.float32)
    x[:, 1, 0] = lengths
    columns = structures_to_columns(Structures.from_dense([8, 1], x))
    columns |= {"order": Column(np.arange(len(lengths)))}
    return write_part(root, "pick", f"pick-{len(lengths)}", columns, {"over": over})


@pytest.fixture
def initial(tmp_path: Path) -> Part:
    split = split_of(tmp_path, [4, 2, 0], [7, 9, 1, 3, 5], [20, 21])
    return made(begin, tmp_path, {"labels": [labels_of(tmp_path)], "split": [split]})


def test_a_chain_begins_with_the_pool_in_its_order(initial: Part, tmp_path: Path) -> None:
    standing = Standing.of(initial)
    lengths = standing.structures.labelled_energies()
    assert np.allclose(lengths[standing.train], [1.04, 1.02, 1.0])
    assert np.allclose(lengths[standing.test], [1.2, 1.21])
    assert (standing.calls, standing.new, standing.over) == (8, 8, "")
    starts = read_structures(
        made(exploring_starts, tmp_path, {"so_far": [initial]}, settings={"count": 19})
    )
    assert len(starts) == 19
    assert not set(starts.labelled_energies()) & set(lengths[standing.test])


def test_each_pick_takes_the_nearest_label_that_is_withheld_and_none_twice(
    initial: Part, tmp_path: Path
) -> None:
    starts = write_part(tmp_path, "starts", "starts", {"chosen": Column(np.array([10, 11]))}, {})
    picks = picks_of(tmp_path, [1.205, 1.2, 1.1, 5.0])
    found = made(
        take_withheld, tmp_path,
        {"candidates": [picks], "so_far": [initial], "labels": [labels_of(tmp_path)],
         "starts": [starts]},
        key={"round": 1},
    )  # fmt: skip
    standing = Standing.of(found)
    # 20 and 21 test, 10 and 11 are starts, 9 validates: the nearest of what is left.
    assert standing.rows[-4:].tolist() == [22, 19, 12, 29]
    assert len(set(standing.rows.tolist())) == len(standing.rows)
    apart = found.metadata["nearest_per_A"]
    assert apart[2] == pytest.approx(1 / 1.1 - 1 / 1.12, rel=1e-4)
    assert (found.metadata["asked"], standing.calls, standing.new) == (4, 12, 4)
    assert found.metadata["left_out"] == []


def test_where_no_label_is_left_that_is_said_and_no_call(initial: Part, tmp_path: Path) -> None:
    free = [row for row in range(30) if row not in {0, 1, 2, 3, 4, 5, 7, 9, 20, 21}]
    starts = write_part(
        tmp_path, "starts", "all", {"chosen": Column(np.array(free[1:], dtype=np.int64))}, {}
    )
    found = made(
        take_withheld, tmp_path,
        {"candidates": [picks_of(tmp_path, [1.1, 1.2])], "so_far": [initial],
         "labels": [labels_of(tmp_path)], "starts": [starts]},
        key={"round": 1},
    )  # fmt: skip
    assert (found.metadata["asked"], found.metadata["calls"]) == (1, 9)
    assert found.metadata["left_out"] == [{"index": 1, "reason": "none_withheld"}]


def test_failed_labels_are_calls_and_validation_keeps_its_share(
    initial: Part, tmp_path: Path
) -> None:
    picks = picks_of(tmp_path, [1.0 + 0.1 * i for i in range(40)])
    work = tmp_path / "work" / "merge_picks-{'round': 1}"
    for index in range(40):
        failed = index in {3, 8}
        details = {
            "outcome": "not_converged" if failed else "converged", "step": "plain",
            "spin_squared": None,
        }  # fmt: skip
        arrays = {"energy": np.array([float(index)]), "forces": np.zeros((2, 3))}
        save_item(work, item_key(index), arrays, details)
    found = made(
        merge_picks, tmp_path, {"candidates": [picks], "so_far": [initial]},
        key={"round": 1}, settings={"labeler": "gfn2-xtb", "count": 40},
    )  # fmt: skip
    standing = Standing.of(found)
    assert (standing.calls, standing.new) == (8 + 40, 38)
    assert [one["index"] for one in found.metadata["left_out"]] == [3, 8]
    assert len(standing.validation) == validation_count(8 + 38)
    sides = np.concatenate([standing.train, standing.validation, standing.test])
    assert sorted(sides.tolist()) == list(range(len(standing.structures)))
    assert np.all(standing.rows[-38:] == COMPUTED)
    assert np.array_equal(standing.structures.labelled_energies()[-38:][:4], [0.0, 1.0, 2.0, 4.0])


def test_a_round_after_the_end_repeats_what_stands(initial: Part, tmp_path: Path) -> None:
    picks = picks_of(tmp_path, [], over="it is good enough")
    inputs = {"candidates": [picks], "so_far": [initial], "labels": [labels_of(tmp_path)]}
    for task in (take_withheld, merge_picks):
        found = made(task, tmp_path, inputs, key={"round": 2})
        standing, before = Standing.of(found), Standing.of(initial)
        assert (standing.calls, standing.new) == (8, 0)
        assert standing.over == "it is good enough"
        assert np.array_equal(standing.train, before.train)
        assert np.array_equal(standing.structures.positions, before.structures.positions)


def test_places_that_no_pick_fills_cost_nothing(tmp_path: Path) -> None:
    paths = {"candidates": [str(picks_of(tmp_path, []).path)]}
    request = Request(
        str(tmp_path), str(tmp_path / "work"), "acquire", "none", {}, 3,
        key={"indices": [0, 1, 2]}, inputs=paths,
    )  # fmt: skip
    assert label_picks(request.to_json())["counts"] == {"labels_done": 0.0}
    assert len(list((tmp_path / "work" / "none").iterdir())) == 3


# Report


def told(root: Path, found: Plan, calls: dict[tuple[int, int], int]) -> list[list[Any]]:
    """Parts of stages `pick` and `acquire` that say that so many calls were made."""
    parts: list[list[Any]] = [[], []]
    for (seed, number), count in calls.items():
        if seed >= 0:
            (pick,) = found.of("pick", round=number, seed=seed)
            row = {"temperature_K": 500.0, "replicas": 4, "failures": 1, "exposure_ps": 0.3}
            said: dict[str, Any] = {
                "over": "",
                "frames": {"picked": 3, "picked_at_failure": 1},
                "explored": [row],
            }
            parts[0].append((pick, write_part(root, "pick", pick.fingerprint, {}, said)))
        key = {"round": number} if seed < 0 else {"round": number, "seed": seed}
        acquired = next(p for p in found.of("acquire") if p.key == key)
        said = {
            "over": "", "calls": count, "asked": 3, "new": 2,
            "left_out": [{"index": 0, "reason": "not_converged"}],
        }  # fmt: skip
        parts[1].append((acquired, write_part(root, "acquire", acquired.fingerprint, {}, said)))
    return parts


def test_models_stand_at_the_calls_that_were_made_and_rows_say_what_a_round_did(
    tmp_path: Path,
) -> None:
    found = plan(TABLE, finetuning__seeds=[0, 1])
    picked, acquired = told(
        tmp_path, found, {(-1, 0): 8, (0, 1): 12, (0, 2): 15, (1, 1): 11, (1, 2): 14}
    )
    calls = calls_of(found.spec, acquired)
    assert calls[Model(ARM, 16, 0)] == 15
    assert calls[Model(ARM, 8, 1)] == 8
    assert asked_beyond(calls) == 7 + 6
    rows = list(round_rows(picked, acquired))
    assert [(row["seed"], row["round"]) for row in rows] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert rows[0]["explored"][0]["rate_interval_per_ns"][0] > 0.0
    assert rows[0]["left_out"] == {"not_converged": 1}
    assert (rows[0]["calls_before"], rows[0]["expert_calls"]) == (9, 12)
    whole = inputs({"pretrained": 0.2, "scratch": 1.0, ARM: 0.5}, calls={
        Model(ARM, 50, 0): 40, Model(ARM, 50, 1): 44,
    }, rounds=rows)  # fmt: skip
    assert mean_calls(whole, [Model(ARM, 50, 0), Model(ARM, 50, 1)]) == 42.0
    report = report_json(whole)
    assert report["active_learning"] == rows
    pooled = {(row["arm"], row["labels"]): row["expert_calls"] for row in report["pooled"]}
    assert pooled[ARM, 50] == 42.0
    assert pooled["scratch", 50] == 50.0
    workspace = Workspace(tmp_path / "workspace")
    workspace.prepare()
    write_report(workspace, whole)
    page = workspace.report_html.read_text()
    assert "the old way" in page
    assert "Seed 1: 14 expert calls after 2 rounds" in page
    assert "4 calls gave no usable label" in page
