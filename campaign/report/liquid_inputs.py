"""What the report's section on liquids is made from: runs of a box, and what they are held to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from campaign.report.inputs import Model
from campaign.statistics.diffusion import Diffusion
from campaign.statistics.structural_failure import Judged, ReferenceCurve
from campaign.statistics.vibrations import Spectrum
from data_store.runs import Run

__all__ = ["Liquid", "LiquidReference", "LiquidRun", "SoundBlocks"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SoundBlocks:
    """How far sound blocks are from the reference by chance alone.

    Parameters
    ----------
    frames : int
        In a block.
    mean_A : dict of str to float
        Mean error by pair.
    largest_A : float
        Largest error of any pair in any block.
    draws : int
        Blocks that were drawn.
    """

    frames: int
    mean_A: dict[str, float]
    largest_A: float
    draws: int


@dataclass(frozen=True, eq=False)
class LiquidReference:
    """g(r) that runs are held against.

    Parameters
    ----------
    source : str
        What it is, in words.
    frames : int
        Of which it is made; 0 where a file does not say.
    curves : dict of str to ReferenceCurve
        By pair of elements, to judge by.
    shown : dict of str to ReferenceCurve
        The same in bins that can be drawn.
    errors_of_halves_A : dict of str to float
        Error of one random half of the frames against the other.
    density_per_A3 : float
        Atoms per volume; 0 where it is not known.
    sound : SoundBlocks or None
        Where there are labels enough to draw blocks from.
    """

    source: str
    frames: int
    curves: dict[str, ReferenceCurve]
    shown: dict[str, ReferenceCurve]
    errors_of_halves_A: dict[str, float]
    density_per_A3: float
    sound: SoundBlocks | None = None


@dataclass(frozen=True, eq=False)
class LiquidRun:
    """What one run's frames say.

    Parameters
    ----------
    run : Run
        As its own criteria ended it.
    judged : Judged
    diffusion : dict of str to Diffusion
        By element; empty where it cannot be told.
    spectrum : Spectrum or None
        Where velocities were saved.
    """

    run: Run
    judged: Judged
    diffusion: dict[str, Diffusion]
    spectrum: Spectrum | None


@dataclass(frozen=True, eq=False)
class Liquid:
    """All runs of boxes.

    Parameters
    ----------
    numbers : ndarray of int, shape (N,)
    cell_A : ndarray, shape (3, 3)
    dynamics : dict
        Settings of the dynamics.
    runs : dict of (Model, float) to list of LiquidRun
        By model and temperature in K.
    reference : LiquidReference or None
    notes : list of str
        What could not be told, and why.
    """

    numbers: NDArray[np.int64]
    cell_A: Array
    dynamics: dict[str, Any]
    runs: dict[tuple[Model, float], list[LiquidRun]]
    reference: LiquidReference | None
    notes: list[str] = field(default_factory=list)

    @property
    def density_per_A3(self) -> float:
        """Atoms per volume."""
        return len(self.numbers) / abs(float(np.linalg.det(self.cell_A)))
