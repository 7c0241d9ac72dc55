"""Force fields that users bring, and GAFF2: which files are used, which are refused, and how.

That they keep the laws of all teachers is tested with those.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from apps.contract import Request
from apps.sampling import gaff2
from apps.sampling.gaff2 import ambertools, make_prmtop
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.openmm_field import OpenMMTeacher
from apps.sampling.settings import LangevinSettings
from apps.sampling.task import prepare, sample
from apps.sampling.teacher import choose_teacher, make_teacher
from apps.sampling.thermal import thermal_frames
from campaign.plan.build import Plan, build_plan
from campaign.preflight import preflight
from campaign.spec.model import parse_spec
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.parts import Part, open_part
from data_store.streams import stream
from data_store.structure_parts import read_structures
from data_store.units import BOLTZMANN_eV_PER_K, KJ_PER_MOL_eV
from tests.e2e.tiny import TINY

SAMPLES = Path(__file__).parents[1] / "samples"
PRMTOP, XML = (SAMPLES / name for name in ("methanol.prmtop", "methanol.xml"))


@cache
def methanol() -> Molecule:
    return molecule_from_smiles("CO", name="methanol")


def amber_system(**options: object) -> openmm.System:
    return app.AmberPrmtopFile(str(PRMTOP)).createSystem(
        **({"constraints": None, "rigidWater": False, "removeCMMotion": False} | options)
    )


def serialised(change: Callable[[openmm.System], None] = lambda system: None) -> str:
    system = amber_system()
    change(system)
    return str(openmm.XmlSerializer.serialize(system))


def by_openmm(system: openmm.System, x: np.ndarray) -> tuple[float, np.ndarray]:
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(0.1 * x)
    state = context.getState(getEnergy=True, getForces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True).value_in_unit(
        unit.kilojoule_per_mole / unit.angstrom
    )  # fmt: skip
    return energy * KJ_PER_MOL_eV, np.asarray(forces) * KJ_PER_MOL_eV


def test_a_prmtop_and_its_serialised_system_are_openmms() -> None:
    system = amber_system()
    teachers = [
        make_teacher("amber-prmtop", methanol(), PRMTOP.read_text()),
        make_teacher("openmm-xml", methanol(), serialised()),
    ]
    rest = by_openmm(system, teachers[0].relaxed_positions)[0]
    for sigma_A in (0.05, 0.2):
        noise = stream(0, str(sigma_A)).normal(size=(6, 3))
        x = teachers[0].relaxed_positions + sigma_A * noise
        energy, expected = by_openmm(system, x)
        for bound in teachers:
            energies, forces = bound.energies_and_forces(x[None])
            assert energies[0] == pytest.approx(energy - rest, abs=1e-6)
            np.testing.assert_allclose(forces[0], expected, atol=1e-6)


def test_atoms_of_a_prmtop_may_be_in_any_order() -> None:
    """Those of the molecule are H first here; matched by elements and bonds."""
    given = molecule_from_smiles("[H]OC([H])([H])[H]")
    order = np.argsort(given.numbers, kind="stable")
    place = np.argsort(order)
    moved = [(int(place[i]), int(place[j])) for i, j in given.bonds]
    shuffled = replace(
        given,
        numbers=tuple(given.numbers[i] for i in order),
        bonds=tuple(sorted((min(pair), max(pair)) for pair in moved)),
        reference_positions=given.reference_positions[order],
    )
    assert shuffled.numbers != methanol().numbers
    bound = make_teacher("amber-prmtop", shuffled, PRMTOP.read_text())
    lengths = [
        np.linalg.norm(bound.relaxed_positions[i] - bound.relaxed_positions[j])
        for i, j in shuffled.bonds
    ]
    straight = make_teacher("amber-prmtop", methanol(), PRMTOP.read_text())
    expected = [
        np.linalg.norm(straight.relaxed_positions[i] - straight.relaxed_positions[j])
        for i, j in methanol().bonds
    ]
    assert sorted(lengths) == pytest.approx(sorted(expected), abs=1e-4)


def test_two_see_each_other_as_openmm_has_it() -> None:
    """Twice the molecule in one system, from the same templates."""
    bound = make_teacher("openmm-xml", methanol(), XML.read_text())
    topology, force_field = app.Topology(), app.ForceField(str(XML))
    for _ in range(2):
        residue = topology.addResidue("MOH", topology.addChain())
        atoms = [
            topology.addAtom(str(place), app.Element.getByAtomicNumber(number), residue)
            for place, number in enumerate(methanol().numbers)
        ]
        for i, j in methanol().bonds:
            topology.addBond(atoms[i], atoms[j])
    system = force_field.createSystem(topology, constraints=None, removeCMMotion=False)
    x = bound.relaxed_positions
    rest = 2.0 * by_openmm(system, np.concatenate([x, x + 1e5]))[0] / 2.0
    pair = bound.pair()
    assert pair is not None
    for turn in range(5):
        rng = stream(0, "pair", turn)
        both = np.concatenate([x, x + np.array([4.0, 0.0, 0.0])]) + 0.1 * rng.normal(size=(12, 3))
        energy, expected = by_openmm(system, both)
        energies, forces = pair.energies_and_forces(both[None])
        assert energies[0] == pytest.approx(energy - rest, abs=1e-5)
        np.testing.assert_allclose(forces[0], expected, atol=1e-5)


def test_dynamics_has_the_temperature_asked_for() -> None:
    bound = make_teacher("amber-prmtop", methanol(), PRMTOP.read_text())
    bath = LangevinSettings(
        timestep_fs=1.0, equilibration_fs=200.0, stride_fs=40.0, friction_per_ps=50.0
    )
    made = thermal_frames(bound, 200.0, 24, 6, bath, 0)
    mean = bound.energies_and_forces(made.reshape(-1, 6, 3))[0].mean()
    # 11 stiff vibrations and a torsion, each with k_B T / 2; 144 energies: 4 % of their sum.
    assert mean / (6.0 * BOLTZMANN_eV_PER_K * 200.0) == pytest.approx(1.0, abs=0.2)


def rigid(system: openmm.System) -> None:
    system.addConstraint(0, 1, 0.14)


def periodic(system: openmm.System) -> None:
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    force.setNonbondedMethod(openmm.NonbondedForce.PME)


def cut_off(system: openmm.System) -> None:
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffNonPeriodic)


def heavy(system: openmm.System) -> None:
    system.setParticleMass(2, 4.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no XML", "is not XML"),
        ("<Other/>", "is of <Other>, expected <System> or <ForceField>"),
        ("<ForceField><Script>print(1)</Script></ForceField>", "holds <Script>: code"),
        ('<ForceField><Include file="x.xml"/></ForceField>', "holds <Include>"),
        ("<ForceField></ForceField>", "no parameters for CH4O"),
        ("<System></System>", "cannot read the system"),
        (serialised(rigid), "1 constraints"),
        (serialised(periodic), "a periodic box"),
        (serialised(cut_off), r"a cut-off \(NonbondedForce\)"),
        (serialised(heavy), r"particle 2 of the system weighs 4 amu, atom 2 of CH4O is H"),
    ],
)
def test_an_xml_that_does_not_fit_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        choose_teacher("openmm-xml", methanol(), tmp_path / "file.xml")


@pytest.mark.parametrize("file", ["methanol.prmtop", "methanol.xml"])
def test_files_of_another_molecule_are_refused(file: str) -> None:
    name = "amber-prmtop" if file.endswith("prmtop") else "openmm-xml"
    with pytest.raises(InputError, match=r"another molecule|no parameters for C2H6O"):
        choose_teacher(name, molecule_from_smiles("CCO"), SAMPLES / file)


def test_what_is_no_prmtop_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.prmtop").write_text("no prmtop\n")
    with pytest.raises(InputError, match="no prmtop that OpenMM can read"):
        choose_teacher("amber-prmtop", methanol(), tmp_path / "file.prmtop")
    with pytest.raises(InputError, match="none is given"):
        choose_teacher("amber-prmtop", methanol())
    with pytest.raises(InputError, match="cannot read the force field"):
        choose_teacher("amber-prmtop", methanol(), tmp_path / "gone.prmtop")


def test_a_force_between_molecules_that_is_not_known_leaves_no_pair() -> None:
    def more(system: openmm.System) -> None:
        force = openmm.CustomNonbondedForce("0.001/r")
        for _ in range(system.getNumParticles()):
            force.addParticle([])
        system.addForce(force)

    alone = make_teacher("openmm-xml", methanol(), serialised(more))
    assert alone.pair() is None
    assert make_teacher("openmm-xml", methanol(), serialised()).pair() is not None


def planned(folder: Path, force_field: str, file: Path | None) -> Plan:
    tables = tomllib.loads(TINY) | {"system": {"smiles": "CO"}}
    tables["sampling"]["force_field"] = force_field
    if file is not None:
        tables["sampling"]["force_field_file"] = str(file)
    return build_plan(parse_spec(tables, "test", folder))


def test_the_files_content_is_in_the_identity_and_its_path_is_not(tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.prmtop", tmp_path / "other.prmtop"
    copy.write_text(PRMTOP.read_text())
    other.write_text(PRMTOP.read_text().replace("VERSION_STAMP", "VERSION_STAMQ"))
    here, there, changed = (
        {part.fingerprint for part in planned(tmp_path, "amber-prmtop", file).parts}
        for file in (PRMTOP, copy, other)
    )
    assert here == there
    assert not here & changed


@pytest.mark.parametrize(
    ("force_field", "file"), [("amber-prmtop", None), ("openmm-xml", None), ("uff", PRMTOP)]
)
def test_file_and_force_field_belong_together(
    force_field: str, file: Path | None, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="are files of yours, which force_field_file names"):
        planned(tmp_path, force_field, file)


def test_workers_need_no_file_once_the_molecule_is_made(tmp_path: Path) -> None:
    file = tmp_path / "mine.prmtop"
    file.write_text(PRMTOP.read_text())
    plan = planned(tmp_path, "amber-prmtop", file)
    preflight(plan.spec)
    parts: list[Part] = []
    for stage, work in (("prepare", prepare), ("sample", sample)):
        part = plan.of(stage)[0]
        request = Request(
            parts_root=str(tmp_path / "parts"), work_root=str(tmp_path / "work"), stage=stage,
            fingerprint=part.fingerprint, settings=part.settings, seed=part.seed, key=part.key,
            inputs={"molecule": [str(made.path) for made in parts]},
            files={role: str(path) for role, path in part.files.items()},
        )  # fmt: skip
        parts.append(open_part(Path(work(request.to_json())["path"])))
        file.unlink(missing_ok=True)
    assert parts[0].metadata["teacher"] == "amber-prmtop"
    assert parts[0].metadata["parameters"] == PRMTOP.read_text()
    structures = read_structures(parts[1])
    bound = make_teacher("amber-prmtop", methanol(), PRMTOP.read_text())
    energies, _ = bound.energies_and_forces(structures.dense_positions().astype(np.float64))
    np.testing.assert_allclose(structures.labelled_energies(), energies, atol=1e-3)


def test_without_ambertools_gaff2_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("AMBERHOME", raising=False)
    with pytest.raises(InputError, match="needs AmberTools' antechamber") as caught:
        choose_teacher("gaff2", methanol())
    assert "$AMBERHOME/bin" in caught.value.message


def programs(folder: Path, antechamber: str) -> dict[str, str]:
    """Stand-ins: `antechamber` is a shell script, the others do nothing."""
    found = {}
    for program in gaff2.PROGRAMS:
        path = folder / program
        path.write_text("#!/bin/sh\n" + (antechamber if program == "antechamber" else ":\n"))
        path.chmod(0o755)
        found[program] = str(path)
    return found


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no convergence; exit 3\n", "antechamber made no parameters.*no convergence"),
        ("echo done\n", "antechamber made no parameters.*done"),
        (": > molecule.mol2\n", "antechamber made no parameters"),
        ("echo x > molecule.mol2\n", "parmchk2 made no parameters"),
    ],
)
def test_a_program_that_makes_nothing_is_named(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = programs(tmp_path, script)
    monkeypatch.setattr(gaff2, "ambertools", lambda: found)
    with pytest.raises(InputError, match=message):
        make_prmtop(methanol())


@pytest.mark.parametrize("smiles", ["CB(O)O", "[CH3]", "O=O"])
def test_what_gaff2_cannot_type_is_refused_before_any_program_runs(
    smiles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaff2, "ambertools", lambda: programs(tmp_path, "touch ran\n"))
    molecule = molecule_from_smiles(smiles, multiplicity=3 if smiles == "O=O" else None)
    with pytest.raises(InputError, match="GAFF2 cannot type"):
        make_prmtop(molecule)


@pytest.mark.skipif(
    ambertools() is None, reason="AmberTools (antechamber, parmchk2, tleap) is not on PATH"
)
def test_gaff2_is_ambertools_own() -> None:
    """The sample was made by hand with the same programs."""
    bound = make_teacher("gaff2", methanol(), choose_teacher("gaff2", methanol()).parameters)
    kept = make_teacher("amber-prmtop", methanol(), PRMTOP.read_text())
    assert isinstance(bound, OpenMMTeacher)
    x = kept.relaxed_positions + 0.1 * stream(0, "x").normal(size=(6, 3))
    assert bound.energies_and_forces(x[None])[0][0] == pytest.approx(
        kept.energies_and_forces(x[None])[0][0], abs=2e-3
    )
