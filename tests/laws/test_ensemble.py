"""Laws of blocks that share a batch: none of them leaves a trace in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from apps.dynamics.checkpoint import load_state, save_state
from apps.dynamics.engine import Block, State, start_block
from apps.dynamics.ensemble import Member, simulate_blocks
from tests.laws.dynamics_systems import CHAIN, run
from tests.laws.test_dynamics_engine import assert_same, breaking_block

SIZES = (16, 5, 4, 9)
"""Sums of a batch of one or two are rounded in another order by torch."""


def blocks(**changes: object) -> list[Block]:
    """Blocks of different sizes and seeds, of which some replicas lose an atom."""
    like = breaking_block(**changes)
    return [replace(like, seed=10 + i, replicas=size) for i, size in enumerate(SIZES)]


def started(block: Block) -> State:
    return start_block(block, CHAIN.expand(block.replicas, -1, -1).clone())


def together(given: Sequence[Block]) -> list[State]:
    """Their states after running in one batch to the end."""
    members = [Member(block, started(block), lambda _: None) for block in given]
    assert simulate_blocks(members, 1e9, lambda: False) == [True] * len(members)
    return [member.state for member in members]


@pytest.mark.parametrize("ensemble", ["langevin", "nve"])
def test_company_leaves_no_trace(ensemble: str) -> None:
    given = blocks(ensemble=ensemble)
    found, alone = together(given), [run(block) for block in given]
    for one, other in zip(found, alone, strict=True):
        assert_same(one, other)
        assert one.replica_steps == other.replica_steps
    assert len({len(state.failures) for state in alone}) > 1


def test_known_bad_dealing_out_leaves_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.dynamics import ensemble

    dealt = ensemble._deal_out

    def dealt_to_the_wrong(joined: State, states: Sequence[State]) -> None:
        dealt(joined, list(reversed(states)))

    monkeypatch.setattr(ensemble, "_deal_out", dealt_to_the_wrong)
    like = breaking_block()
    given = [replace(like, seed=10), replace(like, seed=11)]
    found = together(given)
    with pytest.raises(AssertionError):
        assert_same(found[0], run(given[0]))


def test_those_that_lag_catch_up_and_company_may_change(tmp_path: Path) -> None:
    given = blocks()
    folders = [tmp_path / str(i) for i in range(len(given))]

    def sitting(who: Sequence[int], segments: int) -> list[bool]:
        members = []
        for i in who:
            state = load_state(folders[i], torch.device("cpu")) or started(given[i])
            members.append(Member(given[i], state, lambda s, f=folders[i]: save_state(f, s)))  # type: ignore[misc]
        asked = iter(range(segments))
        done = simulate_blocks(members, 1e9, lambda: next(asked, None) is None)
        for member in members:
            member.save(member.state)
        return done

    assert sitting([0, 1], 2) == [False, False]
    assert sitting([1, 2], 4) == [False, False]
    assert sitting([0, 3], 1) == [False, False]
    assert sitting([0, 1, 2, 3], 100) == [True] * 4
    for block, folder in zip(given, folders, strict=True):
        state = load_state(folder, torch.device("cpu"))
        assert state is not None
        assert_same(state, run(block))


def test_a_stop_saves_all_that_are_unfinished() -> None:
    saved: list[int] = []
    members = [
        Member(block, started(block), lambda s: saved.append(len(s.alive))) for block in blocks()
    ]
    done = simulate_blocks(members, 1e9, lambda: True)
    assert done == [False] * len(SIZES)
    assert len(saved) == len(SIZES)
    assert len({member.state.step for member in members}) == 1
