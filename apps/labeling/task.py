"""What a worker runs for labels: single labels, their merging into a part, the import of a file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from apps.contract import Request, Result
from apps.labeling.published import check_labels_of, read_labels
from apps.labeling.settings import LIMITS, MethodSettings
from apps.labeling.surface import check_one_spin, surface_of
from data_store.columns import Column
from data_store.errors import InputError, LostError, MethodError
from data_store.extxyz import frame_methods
from data_store.fingerprints import file_digest
from data_store.molecules import Molecule
from data_store.parts import Part, write_part
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures
from data_store.work import await_item, item_key, load_item, save_item, write_atomic

if TYPE_CHECKING:
    from apps.labeling.child import ChildLabeler, Limits
    from apps.labeling.labeler import Label

__all__ = ["check_labels", "import_labels", "import_labels_of_several", "label", "merge_labels"]


def label(request: dict[str, Any]) -> dict[str, Any]:
    """Label some structures: key ``indices``, places in the order of the candidates.

    Each label is kept as soon as it is there; those that are there already are passed over. A
    structure for which the method gives no usable label is kept too, with the reason, so that it
    is not tried again.

    Raises
    ------
    InputError
        If functional, basis, charge or multiplicity cannot be used.
    LostError
        If a label took more than ``labels.limit_s`` or ``labels.limit_memory_MB``.
    """
    req = Request.from_json(request)
    with _labelling(req) as labelled:
        return _label(req, labelled).to_json()


Structure = tuple[Any, Any, int, int]
Labelling = Callable[[int, Structure], "Label"]


def _label(req: Request, labelled: Labelling) -> Result:
    structures, order = _candidates(req)
    counts = Counter(labels_done=0, labels_failed=0, labels_skipped=0)
    longest_s = 0.0  # nothing is begun that would not end; the first label always is
    for index in req.key["indices"]:
        if load_item(req.work_dir, item_key(index)) is not None:
            counts["labels_skipped"] += 1
            continue
        if longest_s and req.out_of_time(longest_s):
            return Result("continue", counts=_floats(counts))
        began = time.perf_counter()
        found = labelled(index, _structure(structures, int(order[index])))
        details = {
            "outcome": found.outcome,
            "step": found.step,
            "spin_squared": _or_none(found.spin_squared),
        }
        arrays = {"energy": np.array([found.energy_eV]), "forces": found.forces}
        save_item(req.work_dir, item_key(index), arrays, details)
        longest_s = max(longest_s, time.perf_counter() - began)
        counts["labels_done" if found.outcome == "converged" else "labels_failed"] += 1
    return Result("done", counts=_floats(counts))


@contextmanager
def _labelling(req: Request) -> Iterator[Labelling]:
    """Labels of single structures: here, or where there are limits by a process of its own."""
    from pyscf import lib

    from apps.labeling.child import ChildLabeler, Limits
    from apps.labeling.labeler import make_labeler

    limits = Limits(*(req.settings.get(name) for name in LIMITS))
    if limits == Limits():
        lib.num_threads(req.threads)
        labeler = make_labeler(_method(req))
        yield lambda index, structure: labeler.label(*structure)
        return
    with ChildLabeler(_method(req), req.threads) as child:
        yield partial(_limited, req, child, limits)


def _limited(
    req: Request, child: ChildLabeler, limits: Limits, index: int, structure: Structure
) -> Label:
    """Label within limits, which double each time that this label was stopped."""
    note = req.work_dir / f"{item_key(index)}.stopped"
    stopped = int(note.read_text(encoding="utf-8")) if note.exists() else 0
    try:
        return child.label(*structure, limits=limits.times(2.0**stopped))
    except LostError:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(note, str(stopped + 1).encode())
        raise


def _floats(counts: Counter[str]) -> dict[str, float]:
    return {name: float(count) for name, count in counts.items()}


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _method(req: Request) -> MethodSettings:
    fields = MethodSettings.model_fields
    return MethodSettings.model_validate({k: v for k, v in req.settings.items() if k in fields})


def _candidates(req: Request) -> tuple[Structures, Any]:
    (part,), (selection,) = req.input_parts("candidates"), req.input_parts("order")
    return read_structures(part), selection.read("order", "")


def _structure(structures: Structures, index: int) -> Structure:
    return (
        structures.numbers_of(index),
        structures.positions_of(index).astype(np.float64),
        int(structures.charges[index]),
        int(structures.multiplicities[index]),
    )


def merge_labels(request: dict[str, Any]) -> dict[str, Any]:
    """Merge finished labels, in their order, into a part.

    Raises
    ------
    MethodError
        If not one label converged.
    LostError
        If a label is not to be seen here.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        part = _merged(req)
    counts = {"labels": float(part.shape("candidate")[0])}
    counts["left_out"] = float(len(part.metadata["left_out"]))
    return Result.done(part, counts).to_json()


def _merged(req: Request) -> Part:
    structures, order = _candidates(req)
    kept: list[int] = []
    energies, forces, left_out = [], [], []
    steps: Counter[str] = Counter()
    spins: list[float | None] = []  # ⟨S²⟩ of each label
    for index in range(int(req.settings["count"])):
        arrays, details = await_item(req.work_dir, item_key(index))
        if details["outcome"] != "converged":
            left_out.append({"index": index, "reason": details["outcome"]})
            continue
        steps[details["step"]] += 1
        spins.append(details["spin_squared"])
        kept.append(int(order[index]))
        energies.append(arrays["energy"])
        forces.append(arrays["forces"])
    if not kept:
        raise MethodError(
            f"none of {len(left_out)} labels converged: {Counter(x['reason'] for x in left_out)}",
            "try another functional or basis, more labels.max_cycles, or cooler candidates",
        )
    labelled = structures.take(kept).with_labels(np.concatenate(energies), np.concatenate(forces))
    columns = structures_to_columns(labelled) | {"candidate": Column(np.array(kept))}
    metadata = {
        "method": _method(req).identity(),
        "steps": dict(sorted(steps.items())),
        "left_out": left_out,
    }
    return write_part(
        Path(req.parts_root), req.stage, req.fingerprint, columns, metadata,
        provenance={
            "surface": surface_of(_method(req).identity(), labelled), "spin_squared": spins,
        },
    )  # fmt: skip


def check_labels(path: Path, molecule: Molecule, **relation: Any) -> Structures:
    """Labels of a file, of the campaign's molecule in its atom order.

    How frames are related (`apps.labeling.published.read_labels`) is said by name.

    Raises
    ------
    InputError
        If the file is unusable, or a frame is of another molecule, order, charge or multiplicity.
    """
    structures = read_labels(path, **relation)
    expected = np.array(molecule.numbers)
    for index in range(len(structures)):
        if not np.array_equal(structures.numbers_of(index), expected):
            raise InputError(
                f"{path}: frame {index} is not {molecule.formula} in the atom order of the first "
                "frame of labels.file",
                "a campaign's labels are of one molecule, all in one order",
            )
    check_one_spin([(path, structures)])
    return structures


def import_labels(request: dict[str, Any]) -> dict[str, Any]:
    """Import published labels: file ``labels``.

    Raises
    ------
    InputError
        If the file is unusable; the frame is named.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        (prepared,) = req.input_parts("molecule")
        molecule = Molecule.from_json(prepared.metadata["molecule"])
        file = Path(req.files["labels"])
        part = _imported(req, check_labels(file, molecule, **req.settings))
    return Result.done(part, {"labels": float(part.metadata["labels"])}).to_json()


def import_labels_of_several(request: dict[str, Any]) -> dict[str, Any]:
    """Import published labels of a liquid or a mixture: file ``labels``.

    Raises
    ------
    InputError
        If the file is unusable; the frame is named.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        prepared = req.input_parts("molecule")
        molecules = [Molecule.from_json(one.metadata["molecule"]) for one in prepared]
        file, relation = Path(req.files["labels"]), dict(req.settings)
        kind = str(relation.pop("kind"))
        part = _imported(req, check_labels_of(kind, file, molecules, **relation))
    return Result.done(part, {"labels": float(part.metadata["labels"])}).to_json()


def _imported(req: Request, structures: Structures) -> Part:
    file = Path(req.files["labels"])
    method = {"file_digest": file_digest(file), "frames_say": frame_methods(file)}
    return write_part(
        Path(req.parts_root),
        req.stage,
        req.fingerprint,
        structures_to_columns(structures),
        {"labels": len(structures), "left_out": []},
        provenance={"file": file.name, "surface": surface_of(method, structures)},
    )
