"""Conditions that must last: what holds for just less never fails, and a break starts it anew."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from apps.dynamics import engine
from apps.dynamics.checkpoint import load_state, save_state
from apps.dynamics.criteria import Finding, Units, no_atoms
from apps.dynamics.criteria_records import BUILT_IN, Criterion
from apps.dynamics.criteria_registry import criterion_rows
from apps.dynamics.engine import Block, State, start_block
from apps.dynamics.ensemble import Member, simulate_block, simulate_blocks
from apps.dynamics.lasting import lasted, lasting_steps
from apps.dynamics.settings import DynamicsSettings
from data_store.errors import InputError
from tests.laws.dynamics_systems import CHAIN, run
from tests.laws.lasting_toys import LASTING_FS, LONGEST_A, TOYS
from tests.laws.test_dynamics_engine import assert_same, breaking_block

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, criterion in TOYS.items():
        monkeypatch.setitem(BUILT_IN, name, criterion)


def lasting_block(name: str = "long_bonds", **changes: object) -> Block:
    return breaking_block(criteria=("not_finite", name), **changes)


def failed_at(holds: Sequence[Sequence[bool]], steps: int, stride: int) -> tuple[int | None, int]:
    """First check at which some unit has failed, and the unit, by the engine's own function."""
    since: Tensor | None = None
    for check, now in enumerate(holds):
        held = torch.tensor([now])
        count = held.shape[1]
        own = torch.arange(count)
        units = Units(held, own.double()[None], torch.stack([own, own], 1))
        whole = Finding(held.any(1), torch.zeros(1).double(), no_atoms(held), units)
        found, since = lasted(whole, steps, check * stride, since)
        if bool(found.failed[0]):
            assert int(found.value[0]) == int(found.atoms[0, 1])
            return check, int(found.value[0])
    return None, -1


def expected(holds: Sequence[Sequence[bool]], steps: int, stride: int) -> tuple[int | None, int]:
    """By looking back from each check."""
    needed = -(-steps // stride)
    for check in range(needed, len(holds)):
        runs = [
            sum(1 for _ in itertools.takewhile(bool, (now[unit] for now in holds[check::-1])))
            for unit in range(len(holds[0]))
        ]
        if max(runs) > needed:
            return check, runs.index(max(runs))
    return None, -1


histories = st.integers(1, 3).flatmap(
    lambda units: st.lists(st.lists(st.booleans(), min_size=units, max_size=units), max_size=14)
)


@given(histories, st.integers(1, 12), st.integers(1, 4))
def test_a_replica_fails_when_one_unit_has_lasted_without_a_break(
    holds: list[list[bool]], steps: int, stride: int
) -> None:
    assert failed_at(holds, steps, stride) == expected(holds, steps, stride)


def test_just_less_never_fails_and_a_break_starts_anew() -> None:
    """Five checks span 20 fs at 5 fs."""
    nearly, enough = [[True]] * 4, [[True]] * 5
    assert failed_at(([*nearly, [False]]) * 9, 20, 5) == (None, -1)
    assert failed_at([*nearly, [False], *enough], 20, 5) == (9, 0)
    assert failed_at(enough, 20, 5) == (4, 0)


def test_units_do_not_add_up() -> None:
    """Two that take turns hold at every check together, and neither lasts."""
    turns = [[True, False], [False, True]] * 10
    assert failed_at(turns, 10, 5) == (None, -1)
    assert failed_at([[any(now)] for now in turns], 10, 5) == (2, 0), "the replica as one does"


def test_time_is_that_of_the_check_that_saw_it_last_and_frames_tell() -> None:
    state = run(lasting_block())
    settings = lasting_block().settings
    assert 3 <= len(state.failures) <= 16
    for failure in state.failures:
        assert failure.step >= settings.steps_of(LASTING_FS)
        frames = torch.from_numpy(state.last_frames[failure.replica]).double()
        a, b = failure.atoms
        lengths = torch.linalg.vector_norm(frames[:, a] - frames[:, b], dim=-1)
        # Frames are kept every femtosecond, checks are every other one; the latest is the failure.
        assert bool((lengths[-5::2] > LONGEST_A - 1e-6).all())
        assert failure.value == pytest.approx(float(lengths[-1]), abs=1e-5)


def test_at_once_is_sooner_and_of_more_replicas() -> None:
    at_once, bonds, chain = (
        {f.replica: f.step for f in run(lasting_block(name)).failures}
        for name in ("long_bonds_at_once", "long_bonds", "long_chain")
    )
    assert at_once.keys() >= chain.keys() >= bonds.keys()
    wait = lasting_block().settings.steps_of(LASTING_FS)
    assert all(at_once[r] + wait <= chain[r] <= bonds[r] for r in bonds)
    assert any(chain[r] < bonds[r] for r in bonds), "bonds take turns"


@pytest.mark.parametrize("stride", [7, 10, 50, 10_000])
@pytest.mark.parametrize("name", ["long_bonds", "long_chain"])
def test_compaction_leaves_no_trace_in_counts(name: str, stride: int) -> None:
    assert_same(run(lasting_block(name)), run(lasting_block(name, compact_every_steps=stride)))


def resumed(block: Block, folder: Path, keep: bool = True) -> State:
    """To the end in as many sittings as there are segments, each from a file."""
    state = start_block(block, CHAIN.expand(block.replicas, -1, -1).clone())
    while not simulate_block(block, state, lambda s: save_state(folder, s), 1e9, lambda: True):
        loaded = load_state(folder, CPU)
        assert loaded is not None
        state = loaded if keep else replace(loaded, since={})
    return state


@pytest.mark.parametrize("name", ["long_bonds", "long_chain"])
def test_a_stop_in_the_middle_of_a_count_leaves_no_trace(name: str, tmp_path: Path) -> None:
    block = lasting_block(name, compact_every_steps=5)
    whole, pieces = run(block), resumed(block, tmp_path)
    assert_same(whole, pieces)
    assert all(torch.equal(steps, pieces.since[n]) for n, steps in whole.since.items())


def test_known_bad_resuming_that_forgets_counts_leaves_a_trace(tmp_path: Path) -> None:
    block = lasting_block(compact_every_steps=5)
    with pytest.raises(AssertionError):
        assert_same(run(block), resumed(block, tmp_path, keep=False))


def test_a_checkpoint_from_before_there_were_counts_is_read(tmp_path: Path) -> None:
    """A criterion that fails at once leaves none, so that its file is what it was."""
    block = lasting_block("long_bonds_at_once", compact_every_steps=5)
    assert_same(run(block), resumed(block, tmp_path))
    left = load_state(tmp_path, CPU)
    assert left is not None
    assert left.since == {}


def test_company_leaves_no_trace_in_counts() -> None:
    blocks = [replace(lasting_block(), seed=10 + i, replicas=n) for i, n in enumerate((9, 5, 4))]
    members = [
        Member(b, start_block(b, CHAIN.expand(b.replicas, -1, -1).clone()), lambda _: None)
        for b in blocks
    ]
    assert simulate_blocks(members, 1e9, lambda: False) == [True] * 3
    for block, member in zip(blocks, members, strict=True):
        alone = run(block)
        assert_same(alone, member.state)
        assert all(torch.equal(s, member.state.since[n]) for n, s in alone.since.items())


def test_known_bad_compaction_of_counts_leaves_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that stay behind when replicas leave are those of others."""
    compacted = engine.compact

    def counts_stay_behind(state: State) -> None:
        kept = state.since
        compacted(state)
        state.since = {name: steps[: len(state.alive)] for name, steps in kept.items()}

    straight = run(lasting_block(compact_every_steps=10_000))
    monkeypatch.setattr("apps.dynamics.ensemble.compact", counts_stay_behind)
    with pytest.raises(AssertionError):
        assert_same(straight, run(lasting_block(compact_every_steps=5)))


def test_times_are_whole_steps_and_not_less() -> None:
    one = Criterion("one", "It is so.", "", "", "any", "x:y", 50.0)
    for timestep_fs, steps in ((0.5, 100), (0.25, 200), (0.3, 167)):
        settings = DynamicsSettings.model_construct(timestep_fs=timestep_fs)
        assert lasting_steps(one, settings) == steps


def test_the_time_may_be_a_key_of_the_settings() -> None:
    settings = DynamicsSettings(check_stride_fs=2.5)
    record = Criterion("one", "It is so.", "", "", "any", "x:y", "check_stride_fs")
    assert record.lasting_under(settings) == 2.5
    assert TOYS["long_bonds_at_once"].lasting_under(settings) == 0.0


@pytest.mark.parametrize("bad", ["no_such_key", "criteria", -1.0, float("inf")])
def test_a_time_that_is_none_is_refused(bad: float | str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = replace(TOYS["long_bonds"], lasting_fs=bad)
    monkeypatch.setitem(BUILT_IN, "long_bonds", record)
    with pytest.raises(InputError, match="lasting_fs"):
        criterion_rows(DynamicsSettings(criteria=("not_finite", "long_bonds")))
