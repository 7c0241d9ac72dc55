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

from campaign.plan.active import budgets
from campaign.plan.system import boxes_settings, pair_chunks, teacher_of
from campaign.spec.model import CampaignSpec
from data_store.errors import CampaignError, InputError, MethodError
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
    from apps.dynamics.criteria import judges
    from apps.dynamics.criteria_registry import criterion_rows
    from apps.dynamics.metadynamics_settings import check_variables
    from apps.labeling.labeler import make_labeler
    from apps.labeling.settings import MethodSettings
    from apps.labeling.surface import check_one_method, check_one_spin
    from apps.labeling.task import check_labels
    from apps.potential.starting import starting_potential
    from apps.potential.xtb import check_solves
    from apps.sampling.task import make_molecule
    from apps.sampling.teacher import choose_teacher

    if spec.system.kind != "molecule":
        numbers = _check_several(spec)
        starting_potential(spec.potential, numbers, 0, spec.potential.start_from)
        _check_ranks(spec)
        return
    xyz, labels, tests = (
        Path(path) if path else None
        for path in (spec.system.xyz, spec.labels.file, spec.labels.test_file)
    )
    molecule = make_molecule(spec.system, spec.campaign.seed, xyz, labels)
    name, file = teacher_of(spec.system.molecules()[0], spec.sampling)
    choose_teacher(name, molecule, file)
    brought = [check_labels(path, molecule) for path in (labels, tests) if path is not None]
    if brought:
        paths = [path for path in (labels, tests) if path is not None]
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
    judges(spec.dynamics.criteria)
    criterion_rows(spec.dynamics)
    _check_ranks(spec)


def _check_ranks(spec: CampaignSpec) -> None:
    if spec.pretraining.ranks > 1 and "pretrained" in spec.finetuning.arms:
        from apps.training.mpi import find_mpiexec

        find_mpiexec()


def _check_several(spec: CampaignSpec) -> tuple[int, ...]:
    """Check the molecules of a liquid or a mixture, their teachers and a box; atomic numbers."""
    from apps.sampling.boxes import box_edges, pack
    from apps.sampling.task import make_molecule
    from apps.sampling.teacher import choose_teacher
    from apps.sampling.unlike import interaction_of
    from data_store.streams import stream

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
        asked = boxes_settings(spec.system, 1)
        counts = asked["molecules"]
        edges = box_edges(molecules, counts, asked["density_g_per_cm3"], asked["edges_A"])
        try:
            pack(molecules, counts, edges, stream(spec.campaign.seed, "box", 0))
        except MethodError as error:
            raise InputError(error.message, error.hint) from error
    return tuple({number for molecule in molecules for number in molecule.numbers})


def _check_counts(spec: CampaignSpec, labels: Structures, tests: Structures | None = None) -> None:
    """Refuse more labels, or more starts, than were brought."""
    from apps.selection.task import label_groups

    kept = 0 if tests is not None else spec.labels.test_count
    groups = label_groups(labels)
    for pool in spec.finetuning.pools:
        nested_split(groups, pool, kept, spec.campaign.seed)
    held_out = len(tests) if tests is not None else len(labels) - max(spec.finetuning.pools)
    if spec.dynamics.replicas > held_out:
        raise InputError(
            f"dynamics.replicas = {spec.dynamics.replicas}: replicas start from distinct held-out "
            f"structures, and there are {held_out}",
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
