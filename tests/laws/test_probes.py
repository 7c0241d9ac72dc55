"""Probes find a known hole and none where there is none; scans change one distance and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.contract import Request
from apps.potential.registry import make_potential
from apps.potential.weights import save_bytes
from apps.probing.probes import ProbeSet, probe, scan_rows
from apps.probing.task import probe_model
from apps.sampling.probe_structures import probe_structures, scanned
from apps.sampling.teacher import make_teacher
from data_store.columns import Column
from data_store.molecules import Molecule
from data_store.parts import Part, open_part, write_part
from data_store.splits import teacher_holdout
from data_store.streams import stream
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import TIER_CODES, Structures, concatenate

Array = NDArray[np.float64]
CHANGES = tuple(round(0.1 * step, 1) for step in range(-4, 11))
METHANOL = Molecule(
    "methanol", (6, 8, 1, 1, 1, 1), ((0, 1), (0, 2), (0, 3), (0, 4), (1, 5)), (1,) * 5, (0,) * 6, 1,
    np.array([[-0.36, 0, 0], [0.95, 0.1, 0], [-0.7, 1.0, 0.1], [-0.7, -0.5, 0.9],
              [-0.7, -0.5, -0.9], [1.3, -0.8, 0]]),
)  # fmt: skip
RING = Molecule(
    "ring", (6, 6, 6, 1, 1, 1), ((0, 1), (0, 2), (0, 3), (1, 2), (1, 4), (2, 5)),
    (2, 1, 1, 1, 1, 1), (0,) * 6, 2,
    np.array([[0.0, 0, 0], [1.5, 0, 0], [0.75, 1.3, 0], [-0.6, -0.6, 0.7], [2.1, -0.6, 0.7],
              [0.75, 2.1, 0.7]]),
)  # fmt: skip


def springs(positions: Array) -> Array:
    """A sound wall: harmonic in every distance from the reference."""
    i, j = np.triu_indices(positions.shape[1], k=1)
    rest = np.linalg.norm(
        METHANOL.reference_positions[i] - METHANOL.reference_positions[j], axis=-1
    )
    lengths = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)
    return np.asarray(4.0 * ((lengths - rest) ** 2).sum(axis=-1))


def with_hole(positions: Array) -> Array:
    """The same with a deep well where the bond 0–1 is longer than by 0.4 Å."""
    lengths = np.linalg.norm(positions[:, 0] - positions[:, 1], axis=-1)
    return np.where(lengths > 1.31 + 0.4, -5.0, springs(positions))


def shifted(positions: Array) -> Array:
    """The same with another zero of energy, as labels have."""
    return springs(positions) - 17_600.0


@pytest.fixture(scope="module")
def toy_set() -> ProbeSet:
    rng = stream(0, "probes")
    frames = METHANOL.reference_positions + 0.02 * rng.normal(size=(4, 6, 3))
    distorted = METHANOL.reference_positions + 0.5 * rng.normal(size=(200, 6, 3))
    scans = scanned(METHANOL, frames, CHANGES)
    scans_eV = springs(scans.reshape(-1, 6, 3)).reshape(scans.shape[:3])
    return ProbeSet(
        METHANOL.reference_positions, frames, distorted, springs(distorted), scans,
        scans_eV - springs(frames)[:, None, None], np.array(CHANGES),
    )  # fmt: skip


@pytest.mark.parametrize("sound", [springs, shifted, lambda x: 0.6 * springs(x)])
def test_a_sound_potential_has_no_hole(toy_set: ProbeSet, sound: Callable[[Array], Array]) -> None:
    found = probe(sound, toy_set, 0.5)
    assert (found["distorted"], found["distorted_low"], found["distorted_low_share"]) == (200, 0, 0)


def test_a_known_hole_is_found_as_large_as_it_is(toy_set: ProbeSet) -> None:
    found = probe(with_hole, toy_set, 0.5)
    lengths = np.linalg.norm(toy_set.distorted[:, 0] - toy_set.distorted[:, 1], axis=-1)
    assert found["distorted_low"] == (lengths > 1.71).sum() > 20
    lowest = {row["change_A"]: row["p5_eV"] for row in found["scan"]}
    sound = {row["change_A"]: row["p5_eV"] for row in probe(springs, toy_set, 0.5)["scan"]}
    assert lowest[0.8] < 0.0 < sound[0.8]
    assert lowest[-0.4] == pytest.approx(sound[-0.4])


def test_walls_that_are_too_soft_are_found(toy_set: ProbeSet) -> None:
    assert probe(lambda x: 0.4 * springs(x), toy_set, 0.5)["distorted_low_share"] == 1.0


def test_an_energy_that_is_no_number_is_a_hole(toy_set: ProbeSet) -> None:
    def broken(positions: Array) -> Array:
        found = springs(positions)
        return np.where(found > 10.0, np.nan, found)

    assert probe(broken, toy_set, 0.5)["distorted_low"] == (toy_set.distorted_eV > 10.0).sum() > 0


def test_the_teacher_probed_with_itself_gives_its_own_scan(toy_set: ProbeSet) -> None:
    for row in probe(springs, toy_set, 0.5)["scan"]:
        assert row["median_eV"] == pytest.approx(row["teacher_median_eV"], abs=1e-9)
        assert row["p5_eV"] == pytest.approx(row["teacher_p5_eV"], abs=1e-9)


def test_rows_are_quantiles_over_frames_and_bonds() -> None:
    energies = np.arange(200, dtype=np.float64).reshape(10, 20, 1)
    (row,) = scan_rows(energies, 2.0 * energies, np.array([0.5]))
    assert (row["median_eV"], row["p5_eV"], row["teacher_median_eV"]) == (99.0, 9.0, 198.0)
    assert scan_rows(np.zeros((3, 0, 1)), np.zeros((3, 0, 1)), np.array([0.5])) == []


def test_a_teacher_without_an_energy_is_left_out_and_a_model_without_one_is_lowest() -> None:
    energies = np.arange(100, dtype=np.float64).reshape(10, 10, 1)
    gaps = np.where(energies < 50, np.nan, energies)
    (row,) = scan_rows(energies, gaps, np.array([0.5]))
    assert (row["median_eV"], row["teacher_median_eV"]) == (49.0, 74.0)
    (row,) = scan_rows(gaps, np.full_like(gaps, np.nan), np.array([0.5]))
    assert (row["p5_eV"], row["teacher_median_eV"]) == (None, None)


@pytest.mark.parametrize("molecule", [METHANOL, RING], ids=["chain", "ring"])
def test_a_scan_changes_its_bond_and_moves_fragments_rigidly(molecule: Molecule) -> None:
    frames = molecule.reference_positions + 0.05 * stream(1, "f").normal(size=(2, 6, 3))
    made = scanned(molecule, frames, CHANGES)
    assert made.shape == (2, len(molecule.bonds), len(CHANGES), 6, 3)
    for place, (i, j) in enumerate(molecule.bonds):
        lengths = np.linalg.norm(made[:, place, :, i] - made[:, place, :, j], axis=-1)
        before = np.linalg.norm(frames[:, i] - frames[:, j], axis=-1)
        np.testing.assert_allclose(lengths, before[:, None] + np.array(CHANGES))
        in_ring = molecule is RING and max(i, j) < 3
        others = [b for b in molecule.bonds if b != (i, j) and not (in_ring and max(b) < 3)]
        for a, b in others:
            kept = np.linalg.norm(made[:, place, :, a] - made[:, place, :, b], axis=-1)
            rigid = np.linalg.norm(frames[:, a] - frames[:, b], axis=-1)
            np.testing.assert_allclose(kept, np.broadcast_to(rigid[:, None], kept.shape))


def test_no_change_is_the_frame() -> None:
    frames = METHANOL.reference_positions[None]
    np.testing.assert_allclose(scanned(METHANOL, frames, (0.0,))[0, :, 0], np.repeat(frames, 5, 0))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    """Inputs of both tasks, with MMFF94 as the teacher."""
    root = tmp_path_factory.mktemp("probes")
    teacher = make_teacher("mmff94", METHANOL)
    rng = stream(2, "probes")
    tiers = np.array([TIER_CODES[name] for name in ("langevin", "noise", "scan", "clash")] * 20)
    x = teacher.relaxed_positions + np.where(tiers == 1, 0.05, 0.25)[:, None, None] * rng.normal(
        size=(80, 6, 3)
    )
    energies, forces = teacher.energies_and_forces(x)
    chunk = Structures.from_dense(
        METHANOL.numbers, x, energies=energies, forces=forces, tiers=tiers
    )
    starts = Structures.from_dense(METHANOL.numbers, x[tiers == 1][:12])
    relaxed = Molecule(**{**vars(METHANOL), "reference_positions": teacher.relaxed_positions})
    prepared = {"molecule": relaxed.to_json(), "teacher": "mmff94"}
    model = save_bytes(make_potential("painn", "small", [1, 6, 8], 4.0, 0))
    return {
        "teacher": write_part(root, "sample", "t", structures_to_columns(chunk), {}),
        "starts": write_part(root, "starts", "s", structures_to_columns(starts), {}),
        "molecule": write_part(root, "prepare", "w", {"x": Column(x[0], "Å")}, prepared),
        "model": write_part(root, "finetune", "m", {}, {}, files={"model.safetensors": model}),
    }


ROLES = ("teacher", "starts", "molecule")


def request(
    parts: dict[str, Part],
    stage: str,
    roles: tuple[str, ...],
    settings: dict[str, object],
    fingerprint: str = "f" * 64,
) -> Request:
    root = str(parts["model"].path.parents[1])
    return Request(
        root, root + "/work", stage, fingerprint, settings, 5,
        key={"arm": "scratch", "labels": 8, "seed": 0} if stage == "probe" else {},
        inputs={role: [str(parts[role].path)] for role in roles},
    )  # fmt: skip


def made(parts: dict[str, Part]) -> Part:
    what = request(
        parts, "probe_structures", ROLES,
        {"held_out": 30, "distorted_above_eV_per_atom": 4.0 / 6.0},
    )  # fmt: skip
    return open_part(Path(probe_structures(what.to_json())["path"]))


def test_structures_are_held_out_distorted_and_high(parts: dict[str, Part]) -> None:
    found = ProbeSet.of(made(parts))
    chunk = read_structures(parts["teacher"])
    _, held_out = teacher_holdout(80, 30, 5)
    kept = chunk.take(held_out)
    wanted = (kept.tiers != TIER_CODES["langevin"]) & (kept.labelled_energies() > 4.0)
    assert 0 < wanted.sum() < 30
    np.testing.assert_array_equal(found.distorted, kept.dense_positions()[wanted])
    np.testing.assert_allclose(found.distorted_eV, kept.labelled_energies()[wanted], atol=1e-6)
    assert found.scans_eV.shape == (10, 5, 15)
    zero = list(found.changes_A).index(0.0)
    np.testing.assert_allclose(found.scans_eV[:, :, zero], 0.0, atol=1e-9)


def test_pairs_and_thermal_frames_are_no_distortions(
    parts: dict[str, Part], tmp_path: Path
) -> None:
    """Chunks may hold molecules of other sizes; with nothing distorted there is no share."""
    chunk = read_structures(parts["teacher"])
    thermal = chunk.take(np.flatnonzero(chunk.tiers == TIER_CODES["langevin"]))
    x = np.concatenate([METHANOL.reference_positions, METHANOL.reference_positions + 9.0])
    pairs = Structures.from_dense(
        METHANOL.numbers * 2, np.repeat(x[None], 20, axis=0), energies=np.full(20, 99.0),
        forces=np.zeros((20, 12, 3)), tiers=TIER_CODES["pair"],
    )  # fmt: skip
    columns = structures_to_columns(concatenate([thermal, pairs]))
    given = {**parts, "teacher": write_part(tmp_path, "sample", "pairs", columns, {})}
    what = request(given, "probe_structures", ROLES, {"held_out": 30}, "e" * 64)
    part = open_part(Path(probe_structures(what.to_json())["path"]))
    found = probe(springs, ProbeSet.of(part), 0.5)
    assert (found["distorted"], found["distorted_low_share"]) == (0, None)


def test_a_model_is_probed_and_its_teacher_is_the_part_s(parts: dict[str, Part]) -> None:
    given = {**parts, "structures": made(parts)}
    what = request(given, "probe", ("model", "structures"), {})
    result = probe_model(what.to_json())
    part = open_part(Path(result["path"]))
    found = part.metadata["probes"]
    assert part.metadata["arm"] == "scratch"
    assert found["distorted_low"] == result["counts"]["distorted_low"] == found["distorted"] > 0
    assert [row["change_A"] for row in found["scan"]] == list(CHANGES)
    again = probe_model(what.to_json())
    assert (again["digest"], again["outcome"]) == (result["digest"], "done")
