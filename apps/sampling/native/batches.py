"""`batches.cpp` from Python: contiguous arrays in, arrays out. Units are those of the source."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.compiling import compiled_library
from apps.sampling.mmff94_terms import MMFF94Terms, Term

__all__ = ["TERMS", "MMFF94Batches", "closest", "evaluation", "is_compiled", "project"]

Array = NDArray[np.float64]

TERMS = ("bond", "angle", "linear", "stretch_bend", "out_of_plane", "torsion", "vdw", "ele")
"""What energies are given by, in this order."""

_SOURCE = Path(__file__).with_name("batches.cpp")


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    try:
        return compiled_library(_SOURCE)
    except RuntimeError as error:
        return str(error)


def is_compiled() -> bool:
    """Whether there is a library, made now if need be."""
    return not isinstance(_library(), str)


def evaluation() -> str:
    """How structures are evaluated on this machine, in words."""
    library = _library()
    return f"RDKit and numpy: {library}" if isinstance(library, str) else "compiled"


def _function(name: str) -> Callable[..., None]:
    if not is_compiled():
        raise RuntimeError(_library())
    found: Callable[..., None] = getattr(_library(), name)
    return found


def _as_c(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_int64(argument)


def _flat(terms: Sequence[Sequence[Term]], which: int, dtype: type) -> NDArray[Any]:
    return np.array([number for kind in terms for term in kind for number in term[which]], dtype)


class MMFF94Batches:
    """MMFF94 bound to the terms of a molecule of N atoms, for batches of S structures.

    Parameters
    ----------
    terms : MMFF94Terms

    Raises
    ------
    RuntimeError
        If nothing is compiled.
    """

    def __init__(self, terms: MMFF94Terms) -> None:
        self._evaluate, self._langevin = _function("mmff94"), _function("langevin")
        coupled = dict(terms.stretch_bends)
        bends = [
            (atoms, (ka, t0, *coupled.get(atoms, (0.0, 0.0, 0.0, 0.0))[:4]))
            for atoms, (ka, t0) in terms.angles
        ]
        kinds = (
            terms.bonds, bends, terms.linear_angles, terms.out_of_planes, terms.torsions,
            terms.pairs,
        )  # fmt: skip
        counts = np.array([len(kind) for kind in kinds], np.int64)
        self._terms = (counts, _flat(kinds, 0, np.int32), _flat(kinds, 1, np.float64))

    def energies_and_forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (S, 8) in kcal/mol, by `TERMS`, and forces (S, N, 3) in kcal/mol/Å.

        Atoms on top of each other have finite ones, without a direction.
        """
        x = np.ascontiguousarray(positions, np.float64)
        energies, forces = np.empty((len(x), len(TERMS))), np.empty(x.shape)
        _call(self._evaluate, len(x), x.shape[1], *self._terms, x, energies, forces)
        return energies, forces

    def langevin(
        self,
        point: tuple[Array, Array, Array],
        half_drift_fs: float,
        decay: float,
        half_kick: Array,
        width: Array,
        noise: Array,
    ) -> tuple[Array, Array, Array]:
        """Take Langevin steps as `apps.sampling.langevin.baoab` does.

        Parameters
        ----------
        point : tuple of ndarray, shape (S, N, 3)
            Positions (Å), velocities (Å/fs) and forces (kcal/mol/Å).
        half_drift_fs, decay : float
            Half the time step; what friction leaves of a velocity in a step.
        half_kick, width : ndarray, shape (N,)
            Change of a velocity by a force; spread of the noise of a velocity in a step.
        noise : ndarray, shape (steps, S, N, 3)
            Standard normal.

        Returns
        -------
        tuple of ndarray, shape (S, N, 3)
            Where all are after the last step.
        """
        x, v, f = (np.array(part, np.float64, order="C") for part in point)
        step = np.array([half_drift_fs, decay])
        kick, wide = np.ascontiguousarray(half_kick), np.ascontiguousarray(width)
        drawn = np.ascontiguousarray(noise, np.float64)
        shape = (len(x), x.shape[1])
        _call(self._langevin, *shape, *self._terms, len(drawn), step, kick, wide, drawn, x, v, f)
        return x, v, f


def _call(function: Callable[..., None], *arguments: Any) -> None:
    function(*map(_as_c, arguments))


def project(
    positions: Array,
    bonds: Sequence[tuple[int, int]],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    contact_A: Array,
    rounds: int,
) -> Array:
    """Bring atoms i and j of each structure to a distance; bonds keep theirs as far as they can.

    Parameters
    ----------
    positions : ndarray, shape (S, N, 3)
    bonds : sequence of pairs of int
    i, j : ndarray of int64, shape (S,)
    contact_A : ndarray, shape (S,)
    rounds : int
        Of projecting on the pair, then on one bond after the other; the pair comes last, too.

    Raises
    ------
    RuntimeError
        If nothing is compiled.
    """
    x = np.array(positions, np.float64, order="C")
    flat = np.array(bonds, np.int32).reshape(-1)
    i, j = np.ascontiguousarray(i, np.int64), np.ascontiguousarray(j, np.int64)
    contact = np.ascontiguousarray(contact_A, np.float64)
    arguments = (len(x), x.shape[1], len(bonds), flat, i, j, contact, rounds, x)
    _call(_function("project"), *arguments)
    return x


def closest(positions: Array, marked: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Shortest distance among all pairs but those of two marked atoms, and among these, (S,) each.

    Infinite where there is no such pair; arbitrary where a position is not finite.

    Raises
    ------
    RuntimeError
        If nothing is compiled.
    """
    x, marks = np.ascontiguousarray(positions, np.float64), np.ascontiguousarray(marked, np.uint8)
    others, both = np.empty(len(x)), np.empty(len(x))
    _call(_function("closest"), len(x), x.shape[1], marks, x, others, both)
    return others, both
