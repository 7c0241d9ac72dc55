"""Laws of what ends reactive dynamics: valence that lasts, energies that drift, parting."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from apps.dynamics.criteria import Finding, Watched, first_failure
from apps.dynamics.criteria_reactive import dissociated, valence
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.lasting import Since
from apps.dynamics.settings import DynamicsSettings
from tests.laws.dynamics_systems import ForceFunction, anharmonic_chain, make_block, run, watched

PUBLISHED = Path(os.environ.get("CAMPAIGN_H2COMB", "shared/data/h2comb_train4230.extxyz"))
SETTINGS = DynamicsSettings()

SOUND: dict[str, tuple[list[int], Any]] = {
    "H2O": ([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
    "H2O2": ([8, 8, 1, 1], [[0, 0, 0], [1.46, 0, 0], [-0.1, 0.95, 0.1], [1.56, -0.4, 0.86]]),
    "O3, a ring": ([8, 8, 8], [[0, 0, 0], [1.44, 0, 0], [0.72, 1.25, 0]]),
    "H2 and O": ([1, 1, 8], [[0, 0, 0], [0.74, 0, 0], [2.2, 0, 0]]),
    "two waters with a hydrogen bond": (
        [8, 1, 1, 8, 1, 1],
        [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [2.8, 0, 0], [3.1, 0.9, 0], [3.1, -0.5, 0.8]],
    ),
    "CH4, which is not judged": (
        [6, 1, 1, 1, 1],
        [[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63],
         [0.63, -0.63, -0.63]],
    ),
}  # fmt: skip
GHOSTS: dict[str, tuple[list[int], Any, int, int]] = {
    "H3O": ([8, 1, 1, 1], [[0, 0, 0], [0.98, 0, 0], [-0.4, 0.9, 0], [-0.4, -0.45, 0.78]], 0, 3),
    "H between two O": ([8, 1, 8], [[0, 0, 0], [1.15, 0, 0], [2.3, 0, 0]], 1, 2),
    "H3": ([1, 1, 1], [[0, 0, 0], [0.9, 0, 0], [1.8, 0, 0]], 1, 2),
    "a star of O": ([8, 8, 8, 8], [[0, 0, 0], [1.3, 0, 0], [-0.7, 1.1, 0], [-0.7, -1.1, 0]], 0, 3),
}


def of(numbers: list[int], *positions: list[list[float]]) -> tuple[PhasePoint, Watched]:
    x = torch.tensor(positions, dtype=torch.float64)
    energies = torch.zeros(len(x), dtype=torch.float64)
    looked_at = replace(watched(torch.ones(len(numbers)).double()), numbers=torch.tensor(numbers))
    return PhasePoint(x, 0 * x, 0 * x, energies), looked_at


def judged(numbers: list[int], *positions: list[list[float]]) -> Finding:
    return valence(*of(numbers, *positions), SETTINGS)


@pytest.mark.parametrize("name", SOUND)
def test_species_and_hydrogen_bonds_are_sound(name: str) -> None:
    assert not judged(*SOUND[name]).failed.any()


@pytest.mark.parametrize("name", GHOSTS)
def test_atoms_with_too_many_bonds_are_named(name: str) -> None:
    numbers, positions, atom, bonds = GHOSTS[name]
    found = judged(numbers, positions)
    assert found.failed.all()
    assert found.atoms.tolist() == [[atom, -1]]
    assert found.value.tolist() == [bonds]
    assert found.units is not None
    assert found.units.holds[0].nonzero()[:, 0].tolist() == [atom]


def checks(lasting_fs: float, settings: DynamicsSettings) -> list[int]:
    """Checks that fail, of a hydrogen that stays between two oxygens for so long."""
    numbers, apart = [8, 1, 8], [[0.0, 0, 0], [0.97, 0, 0], [3.0, 0, 0]]
    shared = GHOSTS["H between two O"][1]
    stride = settings.steps_of(settings.check_stride_fs)
    since: Since = {}
    failed = []
    for step in range(0, 400, stride):
        time_fs = step * settings.timestep_fs
        point, looked_at = of(numbers, shared if 20.0 <= time_fs <= 20.0 + lasting_fs else apart)
        cause, _, _ = first_failure(point, looked_at, settings, step, since)
        failed += [step] if int(cause[0]) >= 0 else []
    return failed


def test_a_saddle_passes_and_what_lasts_fails() -> None:
    settings = DynamicsSettings(criteria=("not_finite", "valence"))
    assert checks(45.0, settings) == []
    first = checks(80.0, settings)[0]
    assert first * settings.timestep_fs == 70.0  # 20 fs until it begins, 50 that it lasts
    at_once = DynamicsSettings(criteria=("not_finite", "valence"), valence_fs=0.0)
    assert checks(45.0, at_once)  # the known-bad twin: without a duration saddles fail


def test_a_hydrogen_that_changes_places_is_timed_anew() -> None:
    settings = DynamicsSettings(criteria=("not_finite", "valence"))
    numbers = [8, 1, 8, 8, 1, 8]
    one = [[0.0, 0, 0], [1.15, 0, 0], [2.3, 0, 0], [9.0, 0, 0], [9.97, 0, 0], [12.0, 0, 0]]
    other = [[0.0, 0, 0], [0.97, 0, 0], [3.0, 0, 0], [9.0, 0, 0], [10.15, 0, 0], [11.3, 0, 0]]
    since: Since = {}
    for check in range(40):
        point, looked_at = of(numbers, one if check // 8 % 2 else other)
        cause, _, _ = first_failure(point, looked_at, settings, 10 * check, since)
        assert int(cause[0]) < 0


def leaking(x: Tensor) -> tuple[Tensor, Tensor]:
    """The chain in a force that turns about z: no energy is its own."""
    energies, forces = anharmonic_chain(x)
    turned = torch.stack([-x[..., 1], x[..., 0], 0 * x[..., 0]], dim=-1)
    return energies, forces + 0.02 * turned


def drifted(force_function: ForceFunction, **settings: Any) -> int:
    criteria = ("not_finite", "nve_drift")
    block = make_block(force_function, criteria=criteria, ensemble="nve", length_ps=1.0, **settings)
    return len(run(block).failures)


def test_drift_is_told_from_conservation() -> None:
    assert drifted(anharmonic_chain) == 0
    assert drifted(leaking) == 8
    assert drifted(leaking, drift_eV_per_atom=1e6) == 0


def test_drift_is_the_change_since_the_start_whatever_the_zero() -> None:
    def shifted(x: Tensor) -> tuple[Tensor, Tensor]:
        energies, forces = anharmonic_chain(x)
        return energies - 17_592.0, forces

    assert drifted(shifted) == 0


def test_a_thermostat_and_drift_are_refused_together() -> None:
    with pytest.raises(ValueError, match='nve_drift wants ensemble = "nve"'):
        DynamicsSettings(criteria=("not_finite", "nve_drift"))


def test_keys_of_criteria_not_declared_are_in_no_identity() -> None:
    keys = {"valence_fs", "drift_eV_per_atom", "dissociation_A", "energy_below_eV_per_atom"}
    assert not keys & set(DynamicsSettings().model_dump())
    declared = DynamicsSettings(criteria=("not_finite", "valence"))
    assert keys & set(declared.model_dump()) == {"valence_fs"}


@pytest.mark.parametrize("seed", range(6))
def test_the_gap_is_the_longest_edge_of_the_least_spanning_tree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 6.0, (5, 9, 3))
    point, looked_at = of([8] * 9, *x.tolist())
    found = dissociated(point, looked_at, SETTINGS)
    for row, frame in enumerate(x):
        tree = minimum_spanning_tree(np.linalg.norm(frame[:, None] - frame, axis=-1))
        assert float(found.value[row]) == pytest.approx(tree.data.max())
    assert (found.failed == (found.value > 15.0)).all()


def test_a_long_chain_is_whole_and_a_lone_atom_is_not() -> None:
    chain = [[10.0 * i, 0.0, 0.0] for i in range(5)]
    point, looked_at = of([8] * 5, chain, [*chain[:4], [46.0, 0.0, 0.0]])
    assert dissociated(point, looked_at, SETTINGS).failed.tolist() == [False, True]


@pytest.mark.skipif(
    not PUBLISHED.is_file(),
    reason=f"no hydrogen combustion labels at {PUBLISHED} (CAMPAIGN_H2COMB names the file)",
)
def test_what_published_labels_visit_is_rarely_beyond_the_bounds() -> None:
    beyond, frames = 0, ase.io.read(PUBLISHED, ":")
    for atoms in frames:
        found = judged(atoms.numbers.tolist(), atoms.positions.tolist())
        beyond += int(found.failed[0])
        assert float(found.value[0]) <= 3
    assert 0 < beyond < 0.02 * len(frames)
