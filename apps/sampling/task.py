"""What a worker runs for sampling: molecules, chunks of structures, candidates, boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from apps.contract import Request, Result
from apps.sampling.settings import MoleculeSettings, SamplingSettings, SpeciesSettings
from data_store.columns import Column
from data_store.molecules import Molecule
from data_store.parts import write_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import TIER_CODES, Structures

__all__ = ["boxes", "candidates", "make_molecule", "prepare", "sample", "sample_pairs"]


def make_molecule(
    system: MoleculeSettings | SpeciesSettings, seed: int, xyz: Path | None, labels: Path | None
) -> Molecule:
    """Molecule of a campaign, in the atom order of its labels where there are any.

    Raises
    ------
    InputError
        If the molecule cannot be made, or the labels are of another one.
    """
    from apps.sampling.molecule import (
        molecule_from_mol,
        molecule_from_smiles,
        molecule_from_xyz,
        reorder_like,
    )
    from data_store.extxyz import read_extxyz

    if xyz is not None:
        molecule = molecule_from_xyz(
            xyz, name=system.name, charge=system.charge or 0, multiplicity=system.multiplicity
        )
    elif system.mol is not None:
        molecule = molecule_from_mol(
            Path(system.mol), name=system.name, seed=seed, charge=system.charge,
            multiplicity=system.multiplicity,
        )  # fmt: skip
    else:
        molecule = molecule_from_smiles(
            str(system.smiles), name=system.name, seed=seed, charge=system.charge,
            multiplicity=system.multiplicity,
        )  # fmt: skip
    if labels is None:
        return molecule
    first = read_extxyz(labels, stop=1)
    return reorder_like(molecule, first.numbers_of(0), first.positions_of(0))


def prepare(request: dict[str, Any]) -> dict[str, Any]:
    """Make the molecule and choose its force field.

    Writes a part with the molecule in its metadata.

    Raises
    ------
    InputError
        If the molecule cannot be made or typed.
    MethodError
        If its force field cannot relax it.
    """
    from apps.sampling.teacher import choose_teacher, make_teacher

    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        system = MoleculeSettings.model_validate(
            {role: req.files.get(role) for role in ("xyz", "mol")} | req.settings["system"]
        )
        files = {role: Path(path) for role, path in req.files.items()}
        molecule = make_molecule(system, req.seed, files.get("xyz"), files.get("labels"))
        choice = choose_teacher(req.settings["force_field"], molecule, files.get("force_field"))
        relaxed = _relaxed(make_teacher(choice.name, molecule, choice.parameters))
        parameters = {} if choice.parameters is None else {"parameters": choice.parameters}
        part = write_part(
            Path(req.parts_root),
            req.stage,
            req.fingerprint,
            {"reference_positions": Column(relaxed.reference_positions, "Å")},
            {
                "molecule": relaxed.to_json(),
                "teacher": choice.name,
                "teacher_reason": choice.reason,
                **parameters,
            },
        )
    return Result.done(part).to_json()


def _relaxed(teacher: Any) -> Molecule:
    """The molecule at its teacher's minimum."""
    molecule: Molecule = teacher.molecule
    return replace(molecule, reference_positions=teacher.relaxed_positions)


def _teacher(req: Request) -> Any:
    (teacher,) = _teachers(req)
    return teacher


def _teachers(req: Request) -> list[Any]:
    from apps.sampling.teacher import make_teacher

    made = [prepared.metadata for prepared in req.input_parts("molecule")]
    return [
        make_teacher(
            known["teacher"], Molecule.from_json(known["molecule"]), known.get("parameters")
        )
        for known in made
    ]


def sample(request: dict[str, Any]) -> dict[str, Any]:
    """Make one chunk of teacher structures: key ``chunk``.

    Raises
    ------
    MethodError
        If the acceptance window rejects nearly everything.
    """
    from apps.sampling.chunk import make_chunk
    from apps.sampling.native.batches import evaluation

    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        settings = SamplingSettings.model_validate(req.settings)
        teacher = _teacher(req)
        made = make_chunk(teacher, settings, *_stream_of(req))
        part = write_part(
            Path(req.parts_root),
            req.stage,
            req.fingerprint,
            structures_to_columns(_of_a_mixture(made.structures, teacher, req)),
            {
                "tiers": made.tiers,
                "rejected": made.rejected,
                "tiers_left_out": list(made.left_out),
                "thermal": made.thermal,
            },
            provenance={"evaluation": evaluation()},
        )
    tiers, rejected = part.metadata["tiers"], part.metadata["rejected"]
    counts = {f"accepted_{tier}": float(n) for tier, n in tiers.items()}
    counts["rejected"] = float(sum(sum(r.values()) for r in rejected.values()))
    counts["effective_thermal"] = float(sum(t["effective"] for t in part.metadata["thermal"]))
    return Result.done(part, counts).to_json()


def sample_pairs(request: dict[str, Any]) -> dict[str, Any]:
    """Make one chunk of pairs of two unlike molecules: keys ``chunk``, ``molecules``.

    Raises
    ------
    InputError
        If no force field knows both molecules.
    MethodError
        If the acceptance window rejects nearly everything.
    """
    from apps.sampling.unlike import make_unlike_chunk
    from data_store.streams import stream_seed

    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        settings = SamplingSettings.model_validate(req.settings)
        one, other = _teachers(req)
        first, second = req.key["molecules"]
        seed = stream_seed(req.seed, "molecules", first, second)
        made, interaction = make_unlike_chunk(one, other, settings, seed, req.key["chunk"])
        above_atoms_eV = _above_atoms_eV(one) + _above_atoms_eV(other)
        numbered = _parents_of(f"{int(first, 16) ^ int(second, 16):x}")
        part = write_part(
            Path(req.parts_root),
            req.stage,
            req.fingerprint,
            structures_to_columns(
                replace(
                    made.structures,
                    parents=made.structures.parents + numbered,
                    energies=made.structures.labelled_energies() + above_atoms_eV,
                )
            ),
            {
                "tiers": made.tiers,
                "rejected": made.rejected,
                "tiers_left_out": [],
                "interaction": interaction,
            },
        )
    rejected = sum(part.metadata["rejected"]["pair"].values())
    accepted = part.metadata["tiers"]["pair"]
    counts = {"accepted_pair": float(accepted), "rejected": float(rejected)}
    return Result.done(part, counts).to_json()


def _stream_of(req: Request) -> tuple[int, int]:
    """Seed and number of a chunk; of a mixture, each molecule has a seed of its own."""
    from data_store.streams import stream_seed

    molecule = req.key.get("molecule")
    seed = req.seed if molecule is None else stream_seed(req.seed, "molecule", molecule)
    return seed, req.key["chunk"]


def _of_a_mixture(structures: Structures, teacher: Any, req: Request) -> Structures:
    """As they are; of a mixture, trajectories numbered apart and energies of a common zero."""
    molecule = req.key.get("molecule")
    if molecule is None:
        return structures
    copies = structures.atom_counts // len(teacher.molecule.numbers)
    return replace(
        structures,
        parents=structures.parents + _parents_of(molecule),
        energies=structures.labelled_energies() + copies * _above_atoms_eV(teacher),
    )


def _above_atoms_eV(teacher: Any) -> float:
    """Energy of a teacher's minimum above free atoms, where it knows that; else 0.

    Pieces of one species may be other species: they must not have two energies. Where a teacher
    knows no atoms each species has a zero of its own, which is of no harm while no bond breaks.
    """
    return float(getattr(teacher, "above_atoms_eV", 0.0))


def _parents_of(molecule: str) -> int:
    """Where the numbers of a molecule's trajectories begin."""
    return (1 + int(molecule, 16) % (2**21 - 1)) << 41


def candidates(request: dict[str, Any]) -> dict[str, Any]:
    """Make thermal structures for labels and starts: one frame of each independent trajectory.

    They are apart from the teacher's structures, so that nothing that is labelled, tested on or
    started from was pre-trained on.
    """
    from apps.sampling.native.batches import evaluation
    from apps.sampling.thermal import thermal_frames
    from data_store.streams import stream_seed

    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        settings = dict(req.settings)
        count, temperatures = settings.pop("count"), settings.pop("temperatures_K")
        langevin = SamplingSettings.model_validate(settings).tiers.langevin
        long = langevin.model_copy(update={"equilibration_fs": _EQUILIBRATION_fs})
        teacher = _teacher(req)
        per_temperature = -(-count // len(temperatures))
        made = np.stack(
            [
                thermal_frames(
                    teacher, t, per_temperature, 1, long, stream_seed(req.seed, "candidates", i)
                )[0]
                for i, t in enumerate(temperatures)
            ],
            axis=1,
        ).reshape(-1, len(teacher.molecule.numbers), 3)[:count]
        energies, forces = teacher.energies_and_forces(made)
        structures = Structures.from_dense(
            np.array(teacher.molecule.numbers),
            made,
            energies=energies,
            forces=forces,
            charge=teacher.molecule.charge,
            multiplicity=teacher.molecule.multiplicity,
            tiers=TIER_CODES["langevin"],
        )
        part = write_part(
            Path(req.parts_root),
            req.stage,
            req.fingerprint,
            structures_to_columns(structures),
            {"temperatures_K": list(temperatures), "trajectories": count},
            provenance={"evaluation": evaluation()},
        )
    return Result.done(part, {"candidates": float(part.metadata["trajectories"])}).to_json()


def boxes(request: dict[str, Any]) -> dict[str, Any]:
    """Build periodic boxes that dynamics starts from: ``count`` of them, each from its own stream.

    Without labels and without velocities: `apps.sampling.boxes` says what they are.

    Raises
    ------
    InputError
        If a molecule is longer than the box.
    MethodError
        If the box is too dense.
    """
    from apps.sampling.boxes import box_edges, pack
    from data_store.streams import stream

    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        settings = req.settings
        counts = settings["molecules"]
        molecules = [
            Molecule.from_json(made.metadata["molecule"]) for made in req.input_parts("molecule")
        ]
        edges = box_edges(
            molecules, counts, settings["density_g_per_cm3"], settings["edges_A"]
        )  # fmt: skip
        charge = sum(m.charge * n for m, n in zip(molecules, counts, strict=True))
        unpaired = sum((m.multiplicity - 1) * n for m, n in zip(molecules, counts, strict=True))
        packed = [
            pack(molecules, counts, edges, stream(req.seed, "box", box))
            for box in range(settings["count"])
        ]
        structures = Structures.from_dense(
            packed[0].numbers,
            np.stack([box.positions for box in packed]),
            charge=charge,
            multiplicity=1 + unpaired,  # spins parallel: it always exists
            cell=np.diag(edges),
        )
        part = write_part(
            Path(req.parts_root),
            req.stage,
            req.fingerprint,
            structures_to_columns(structures),
            {
                "edges_A": edges.tolist(),
                "species": [
                    {"formula": molecule.formula, "count": count}
                    for molecule, count in zip(molecules, counts, strict=True)
                ],
            },
        )
    return Result.done(part, {"boxes": float(req.settings["count"])}).to_json()


_EQUILIBRATION_fs = 2000.0
"""Time from the relaxed geometry to a candidate's frame: some ten times the slowest decay of energy
at a friction of 5 per ps."""
