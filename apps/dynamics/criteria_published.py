r"""Failure criteria as other works define them, for numbers that can be laid beside theirs.

Their thresholds are fixed by the publication and take no setting. All judge the present frame
alone, at this campaign's check stride; each docstring says what was found in the paper's code and
where this differs. Common to all: the works take the bonds from one frame by a distance rule (ASE's
natural cutoffs with its skin of 0.3 Å per atom) or from a PDB file, and here they are those of the
molecule's bond graph. A replica that is no number is left to `not_finite`, which is asked first.
The criteria of these works for liquids (errors of radial distribution functions over a window of
time, distances between molecules) are of trajectories or of boxes, and are not here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from apps.dynamics.criteria import Watched, worst_bond
from apps.dynamics.findings import Finding, no_atoms, nothing_found
from apps.dynamics.images import nearest_images
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.thermal import kinetic_energy
from data_store.units import BOLTZMANN_eV_PER_K

__all__ = ["mdsim", "mlipaudit", "stable", "stable_training"]

_MDSIM_A = 0.5
_STABLE_A = 0.5
_STABLE_TRAINING_A = 0.25
_EXPLOSION_K = 10_000.0
_HYDROGEN_A = 2.5


def mdsim(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    r"""Fu et al. 2022, "Forces are not enough" (arXiv:2210.07237), molecules; value in Å.

    .. math:: \max_{(i,j)} \bigl| \|r_i - r_j\| - \bar b_{ij} \bigr| > 0.5\ \text{Å}

    Found in ``kyonofx/MDsim`` (``observable.ipynb``): bonds from the first saved frame,
    :math:`\bar b` the mean over the whole reference trajectory, the comparison strict, frames every
    50 fs, of which the last is not tested. ``mdsim/md/ase_utils.py`` also ends a run whose
    temperature leaves 0.1 to 100 000 K; it counts as stable until then.

    Here :math:`\bar b` is the mean over the training labels of the smallest pool, the check stride
    is the campaign's, and the temperature is left to `hot`.
    """
    if not len(watched.bonds):
        return nothing_found(point)
    value, atoms = worst_bond(point, watched)
    return Finding(value > _MDSIM_A, value, atoms)


def stable(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    r"""Raja et al. 2024, StABlE Training (arXiv:2402.13984), molecules, evaluation; value in Å.

    .. math:: \max_{(i,j)} \bigl| \|r_i - r_j\| - \bar b_{ij} \bigr| \ge 0.5\ \text{Å}

    Found in ``ASK-Berkeley/StABlE-Training`` (``simulator.py``, ``configs/stable_training/md17``):
    a replica is stable while its deviation is *below* the tolerance, so that 0.5 Å itself fails
    (our notes say "over"), and so does a deviation that is no number; :math:`\bar b` is the mean
    over the training trajectory, bonds come from one of its frames; frames are 1 ps apart and their
    maximum decides, so that stable times are whole picoseconds. That runs end when 99 % of the
    replicas are unstable is a rule of the ensemble and not of this criterion.

    Here :math:`\bar b` is the mean over the training labels of the smallest pool, and the check
    stride is the campaign's.
    """
    return _not_below(_STABLE_A, point, watched)


def stable_training(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """Tell as `stable` does, with the 0.25 Å at which StABlE *training* acts; value in Å.

    Found in ``configs/stable_training/md17/train.yml``; there frames are 50 fs apart.
    """
    return _not_below(_STABLE_TRAINING_A, point, watched)


def _not_below(tolerance_A: float, point: PhasePoint, watched: Watched) -> Finding:
    if not len(watched.bonds):
        return nothing_found(point)
    value, atoms = worst_bond(point, watched)
    return Finding(~(value < tolerance_A), value, atoms)


def mlipaudit(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    r"""MLIPAudit's stability benchmark (arXiv:2511.20487); value as a share of the threshold.

    .. math:: T > T_0 + 10\,000\ \text{K} \quad\text{or}\quad
              \max_{h} \min_{X} \|r_h - r_X\| > 2.5\ \text{Å}

    with :math:`T = 2 K / 3 N k_B`, hydrogens :math:`h` that are bonded to a heavy atom, and all
    heavy atoms :math:`X`. The atoms are the lost hydrogen and the heavy atom nearest to it; none
    where the temperature decided, which is asked first.

    Found in ``instadeepai/mlipaudit`` (``utils/stability.py``,
    ``benchmarks/stability/stability.py``): a hydrogen is lost when its bond *and* its distance to
    every other heavy atom exceed 2.5 Å (2.0 Å in earlier versions), from then to the end of the
    trajectory; a proton that moves to another heavy atom is not lost, whereas our notes and the
    documentation's summary speak of the bond alone. An explosion is also a temperature 100 times
    that of the frame before. Bonds of solvent are excluded.

    Here the first frame without a heavy atom near counts, since whether the hydrogen returns is not
    known then; the ratio of successive temperatures is left out, since a criterion keeps no state;
    all hydrogens of the molecule count.
    """
    temperature_K = 2.0 / 3.0 / BOLTZMANN_eV_PER_K / len(watched.numbers) * kinetic_energy(
        point.velocities, watched.masses_amu
    )  # fmt: skip
    distance_A, atoms = _loneliest_hydrogen(point, watched)
    hottest_K = watched.temperature_K + _EXPLOSION_K
    exploded, lost = temperature_K > hottest_K, distance_A > _HYDROGEN_A
    value = torch.maximum(temperature_K / hottest_K, distance_A / _HYDROGEN_A)
    atoms = torch.where((lost & ~exploded)[:, None], atoms, no_atoms(value))
    return Finding(exploded | lost, value, atoms)


def _loneliest_hydrogen(point: PhasePoint, watched: Watched) -> tuple[Tensor, Tensor]:
    """Largest distance (R,) of a bonded hydrogen from its nearest heavy atom, and the two (R, 2).

    −∞ where no hydrogen is bonded to a heavy atom.
    """
    bonds, is_hydrogen = watched.bonds, watched.numbers == 1
    if not len(bonds):
        return torch.full_like(point.energies, -torch.inf), no_atoms(point.energies)
    ends = is_hydrogen[bonds]
    hydrogen = torch.where(ends[:, 0], bonds[:, 0], bonds[:, 1])
    vectors = point.positions[:, hydrogen, None] - point.positions[:, None]
    vectors = nearest_images(vectors, watched.cell)
    distances = torch.linalg.vector_norm(vectors, dim=-1).masked_fill(is_hydrogen, torch.inf)
    nearest, heavy = distances.min(dim=2)
    nearest = nearest.masked_fill(ends[:, 0] == ends[:, 1], -torch.inf)
    distance, worst = nearest.max(dim=1)
    pair = torch.stack([hydrogen[worst], heavy.gather(1, worst[:, None])[:, 0]], dim=1)
    return distance, pair
