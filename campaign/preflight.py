"""Trying out what the user brought before any worker is started.

A molecule that no force field knows, labels without forces, a functional that does not exist: all
these would end a launch after minutes; here they end it in seconds. Nothing is kept.

A launch tries it out in a process of its own: the libraries that it takes would stay in the memory
of the driver (some 300 MB) for days, and meanwhile the driver looks at what is there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np

from campaign.plan.active import budgets
from campaign.plan.system import boxes_settings, pair_chunks, teacher_of
from campaign.spec.model import CampaignSpec
from data_store.errors import CampaignError, InputError, MethodError
from data_store.molecules import Molecule
from data_store.splits import nested_split
from data_store.structures import Structures

__all__ = ["main", "preflight", "preflight_meanwhile"]

_REFUSED = 2
"""What the process of its own ends with after it has said, as JSON, what cannot be used."""


def preflight(spec: CampaignSpec) -> None:
    """Check molecule, force field, labels or method, architecture, criteria, control and MPI.

    Raises
    ------
    InputError
        Saying what cannot be used, and what to do.
    """
    from apps.dynamics.metadynamics_settings import check_variables
    from apps.labeling.labeler import make_labeler
    from apps.labeling.settings import MethodSettings
    from apps.labeling.surface import check_one_method, check_one_spin
    from apps.labeling.task import check_labels
    from apps.potential.starting import starting_potential
    from apps.potential.xtb import check_solves
    from apps.sampling.task import make_molecule
    from apps.sampling.teacher import choose_teacher

    if spec.several:
        _check_several(spec)
        _check_ranks(spec)
        return
    xyz, labels, tests = (
        Path(path) if path else None
        for path in (spec.system.xyz, spec.labels.file, spec.labels.test_file)
    )
    molecule = make_molecule(spec.system, spec.campaign.seed, xyz, labels)
    name, file = teacher_of(spec.system.molecules()[0], spec.sampling)
    choose_teacher(name, molecule, file)
    paths, relation = [path for path in (labels, tests) if path], spec.labels.relation()
    brought = [check_labels(path, molecule, **relation) for path in paths]
    if brought:
        check_one_spin(list(zip(paths, brought, strict=True)))
        check_one_method(paths, spec.labels.same_method)
        _check_counts(spec, *brought)
    if labels is None:
        method = {name: getattr(spec.labels, name) for name in MethodSettings.model_fields}
        make_labeler(MethodSettings(**method)).check(molecule)
    starting_potential(spec.potential, molecule.numbers, 0, spec.potential.start_from)
    if spec.control.method != "none":
        check_solves(spec.control.method, molecule)
    check_variables(spec.dynamics.metadynamics, len(molecule.numbers))
    _check_criteria(spec)
    _check_ranks(spec)


def _check_criteria(spec: CampaignSpec) -> None:
    from apps.dynamics.criteria import judges
    from apps.dynamics.criteria_registry import criterion_rows

    judges(spec.dynamics.criteria)
    criterion_rows(spec.dynamics)


def _check_ranks(spec: CampaignSpec) -> None:
    if spec.pretraining.ranks > 1 and "pretrained" in spec.finetuning.arms:
        from apps.training.mpi import find_mpiexec

        find_mpiexec()


def _check_several(spec: CampaignSpec) -> None:
    """Check the molecules of a liquid or a mixture, their teachers, a box, and labels."""
    from apps.potential.starting import starting_potential
    from apps.sampling.task import make_molecule
    from apps.sampling.teacher import choose_teacher
    from apps.sampling.unlike import interaction_of

    molecules = []
    for one in spec.system.molecules():
        xyz = Path(one.xyz) if one.xyz else None
        molecules.append(make_molecule(one, spec.campaign.seed, xyz, None))
        name, file = teacher_of(one, spec.sampling)
        choose_teacher(name, molecules[-1], file)
    if pair_chunks(spec.system, spec.sampling):
        for first, second in combinations(molecules, 2):
            interaction_of(first, second)
    if spec.system.has_box:
        _check_box(spec, molecules)
    numbers = {number for molecule in molecules for number in molecule.numbers}
    starting_potential(spec.potential, tuple(numbers), 0, spec.potential.start_from)
    if spec.labelled:
        _check_labels_of_several(spec, molecules)
        _check_criteria(spec)


def _check_box(spec: CampaignSpec, molecules: list[Molecule]) -> None:
    from apps.sampling.boxes import box_edges, pack
    from data_store.streams import stream

    asked = boxes_settings(spec.system, 1)
    counts = asked["molecules"]
    edges = box_edges(molecules, counts, asked["density_g_per_cm3"], asked["edges_A"])
    try:
        pack(molecules, counts, edges, stream(spec.campaign.seed, "box", 0))
    except MethodError as error:
        raise InputError(error.message, error.hint) from error


def _check_labels_of_several(spec: CampaignSpec, molecules: list[Molecule]) -> None:
    from apps.labeling.channel_choice import read_channels
    from apps.labeling.published import check_labels_of, check_made_of
    from apps.labeling.surface import check_one_method

    labels = spec.labels
    paths = [Path(path) for path in (labels.file, labels.test_file) if path]
    if labels.channels is not None:
        structures, _, choice = read_channels(paths[0], **labels.choice())
        chosen = [structures.take(rows) for rows in (choice.train, choice.test)]
        for some in chosen:
            check_made_of(spec.system.kind, paths[0], some, molecules)
        check_one_method(paths, labels.same_method)
        _check_counts(spec, *chosen)
        return
    brought = [
        check_labels_of(spec.system.kind, path, molecules, **labels.relation()) for path in paths
    ]
    check_one_method(paths, labels.same_method)
    _check_counts(spec, *brought)


def _refuse_isolated(starts: Structures) -> None:
    if len(starts) and not starts.pbc.all():
        raise InputError(
            "dynamics of a liquid or a mixture is of periodic boxes, and the most frequent kind of "
            f"label held out, of {starts.atom_counts[0]} atoms, is in none",
            "give the size of boxes that are built to start from: system.density_g_per_cm3 or "
            "system.box_A",
        )


def _check_counts(spec: CampaignSpec, labels: Structures, tests: Structures | None = None) -> None:
    """Refuse more labels, or more starts, than were brought."""
    from apps.selection.task import apart_and_alike, label_groups

    kept = 0 if tests is not None else spec.labels.test_count
    groups, seed = label_groups(labels), spec.campaign.seed
    splits = [
        nested_split(groups, pool, kept, seed, spec.validation(pool))
        for pool in sorted(spec.finetuning.pools)
    ]
    if spec.several and spec.system.has_box:
        return  # starts are built
    pool, used = labels, np.concatenate([splits[-1].train, splits[-1].validation])
    if tests is not None:
        pool, used = tests, used[:0]
    unseen = np.setdiff1d(np.arange(len(pool)), used)
    if spec.several:
        unseen, _ = apart_and_alike(pool, unseen)
        if not spec.dynamics.reactive:
            _refuse_isolated(pool.take(unseen))
    held_out = len(unseen)
    if spec.dynamics.replicas > held_out:
        raise InputError(
            f"dynamics.replicas = {spec.dynamics.replicas}: replicas start from distinct held-out "
            f"structures, and there are {held_out}" + (" of one kind" if spec.several else ""),
            "lower dynamics.replicas, or bring more structures (labels.test_file)",
        )
    _check_withheld(spec, len(labels) - (0 if tests is not None else kept + spec.dynamics.replicas))


def _check_withheld(spec: CampaignSpec, free: int) -> None:
    """Refuse a budget of active learning that the published labels cannot fill."""
    budget = budgets(spec)[-1]
    if spec.active_learning is not None and budget > free:
        raise InputError(
            f"active_learning.label_budget = {budget}: picks are labelled by published labels, and "
            f"there are {free} that neither test a model nor start its examination",
            "lower active_learning.label_budget, or bring more labels",
        )


@contextmanager
def preflight_meanwhile(spec: CampaignSpec) -> Iterator[Callable[[], None]]:
    """Try out in a process of its own while the body of the ``with`` runs.

    Yields
    ------
    callable
        To be called where there is nothing to try out: nothing is left to be made.

    Raises
    ------
    InputError
        On leaving: saying what cannot be used, and what to do.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as asked:
        asked.write(spec.model_dump_json())
        asked.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-c", "from campaign.preflight import main; main()"],
            stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    needless = False

    def drop() -> None:
        nonlocal needless
        needless = True

    try:
        yield drop
        if needless:
            process.kill()
        said, noise = process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if needless:
        return
    sys.stderr.write(noise)
    if process.returncode == _REFUSED:
        raise InputError(**json.loads(said))
    if process.returncode:
        raise InputError(
            f"trying out the molecule, labels and methods ended with code {process.returncode}",
            "what it wrote is above; `campaign validate` tries the same in its own process",
        )


def main() -> None:
    """Try out the spec on standard input; what cannot be used is said as JSON."""
    try:
        preflight(CampaignSpec.model_validate_json(sys.stdin.read()))
    except CampaignError as error:
        sys.stdout.write(json.dumps({"message": error.message, "hint": error.hint}))
        sys.exit(_REFUSED)
