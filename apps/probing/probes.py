"""Two probes of a potential, from single energies: holes among distortions, and bonds scanned.

Both cost seconds, and see what dynamics meets only after long runs: walls that are too low. The
first asks for the share of strongly distorted structures, held out from pre-training, whose energy
above the relaxed geometry is below a fraction of the teacher's; the second for the energy of each
bond stretched and compressed, above the frame it was scanned from. The teacher is no expert: it is
a bound from the side of common sense, and far too stiff for bonds that are about to break.

The idea of testing walls by scans beside dynamics: arXiv:2602.04861 (controlled scans of bonds),
arXiv:2503.11537 (clashes). Nothing here knows of a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.parts import Part
from data_store.structure_parts import read_structures

__all__ = ["EnergyFunction", "ProbeSet", "probe", "scan_rows"]

Array = NDArray[np.float64]
EnergyFunction = Callable[[Array], Array]
"""From positions (S, N, 3) in Å to energies (S,) in eV, of whatever zero."""


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Structures to probe with, and the teacher's energies.

    Parameters
    ----------
    reference : ndarray, shape (N, 3)
        The relaxed geometry, in Å.
    frames : ndarray, shape (F, N, 3)
    distorted : ndarray, shape (D, N, 3)
    distorted_eV : ndarray, shape (D,)
        Above the reference, by the teacher.
    scans : ndarray, shape (F, B, C, N, 3)
        Each frame with each bond's length changed.
    scans_eV : ndarray, shape (F, B, C)
        Above the frame, by the teacher; NaN where it gives none.
    changes_A : ndarray, shape (C,)
    """

    reference: Array
    frames: Array
    distorted: Array
    distorted_eV: Array
    scans: Array
    scans_eV: Array
    changes_A: Array

    @staticmethod
    def of(part: Part) -> ProbeSet:
        """Set from the part of stage `probe_structures`.

        Raises
        ------
        StoreError
            If the part holds none.
        """
        structures, layout = read_structures(part), part.metadata
        x = structures.dense_positions().astype(np.float64)
        energies = part.read("teacher_energies", "eV")
        changes = np.array(layout["changes_A"], dtype=np.float64)
        shape = (layout["frames"], layout["bonds"], len(changes))
        first, second = 1 + layout["frames"], 1 + layout["frames"] + layout["distorted"]
        frames_eV = energies[1:first]
        return ProbeSet(
            reference=x[0],
            frames=x[1:first],
            distorted=x[first:second],
            distorted_eV=energies[first:second] - energies[0],
            scans=x[second:].reshape(*shape, *x.shape[1:]),
            scans_eV=energies[second:].reshape(shape) - frames_eV[:, None, None],
            changes_A=changes,
        )


def probe(energy_of: EnergyFunction, found: ProbeSet, low_fraction: float) -> dict[str, Any]:
    """Results of both probes as plain JSON.

    Parameters
    ----------
    energy_of : callable
    found : ProbeSet
    low_fraction : float

    Returns
    -------
    dict
        ``distorted`` (how many), ``distorted_low`` (how many of them too low; an energy that is no
        number counts), ``distorted_low_share`` (None where there are none), ``scan`` (`scan_rows`),
        ``teacher_lacking`` (scanned structures for which the teacher gives no energy).
    """
    above = energy_of(found.distorted) - energy_of(found.reference[None])
    low = int((~(above >= low_fraction * found.distorted_eV)).sum())
    flat = found.scans.reshape(-1, *found.reference.shape)
    scans = energy_of(flat).reshape(found.scans_eV.shape)
    scans = scans - energy_of(found.frames)[:, None, None]
    return {
        "distorted": len(found.distorted),
        "distorted_low": low,
        "distorted_low_share": low / len(found.distorted) if len(found.distorted) else None,
        "teacher_lacking": int((~np.isfinite(found.scans_eV)).sum()),
        "scan": scan_rows(scans, found.scans_eV, found.changes_A),
    }


def scan_rows(predicted: Array, teacher: Array, changes_A: Array) -> list[dict[str, float | None]]:
    """Median and 5th percentile over frames and bonds at each change of length.

    Parameters
    ----------
    predicted, teacher : ndarray, shape (F, B, C)
        Above the frame, in eV.
    changes_A : ndarray, shape (C,)

    Returns
    -------
    list of dict
        Empty where there is no bond. A predicted energy that is no number counts as the lowest; of
        the teacher's, those that are numbers count.
    """
    if not predicted.size:
        return []
    rows = []
    for place, change in enumerate(changes_A):
        own, other = predicted[..., place].ravel(), teacher[..., place].ravel()
        median, low = _quantiles(np.where(np.isfinite(own), own, -np.inf))
        teacher_median, teacher_low = _quantiles(other[np.isfinite(other)])
        rows.append(
            {
                "change_A": float(change),
                "median_eV": median,
                "p5_eV": low,
                "teacher_median_eV": teacher_median,
                "teacher_p5_eV": teacher_low,
            }
        )
    return rows


def _quantiles(values: Array) -> tuple[float | None, float | None]:
    """Median and 5th percentile; None where there is none or it is no number."""
    if not len(values):
        return None, None
    middle, low = np.percentile(values, [50.0, 5.0], method="inverted_cdf")
    return _finite(middle), _finite(low)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
