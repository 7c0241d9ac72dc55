"""The surface that labels lie on: by which method, with which charge and multiplicity.

Two methods differ by more than any network errs, and so do two spin states of one composition; a
training on both would learn neither. What a file does not say of its frames is not guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_store.errors import InputError
from data_store.extxyz import frame_methods
from data_store.fingerprints import fingerprint
from data_store.structures import Structures

__all__ = ["check_one_method", "check_one_spin", "surface_of"]


def surface_of(method: dict[str, Any], structures: Structures) -> dict[str, Any]:
    """Record of the surface of some labels, with its fingerprint.

    Parameters
    ----------
    method : dict
        What decides the numbers: settings of a labeler; or the digest of a file, and what its
        frames say.
    structures : Structures
    """
    found = {
        "method": method,
        "charges": np.unique(structures.charges).tolist(),
        "multiplicities": np.unique(structures.multiplicities).tolist(),
    }
    return found | {"fingerprint": fingerprint(found)}


def check_one_method(paths: Sequence[Path], same: Collection[str] = ()) -> None:
    """Refuse files whose frames say that they are by different methods.

    Parameters
    ----------
    paths : sequence of Path
    same : collection of str
        Names that the user declares to be of one method.

    Raises
    ------
    InputError
        Naming two of the methods, and where they are.
    """
    where: dict[str, Path] = {}
    for path in paths:
        for name in frame_methods(path):
            where.setdefault(name, path)
    first, *others = [*where] or [""]
    for other in others:
        if not {first, other} <= set(same):
            raise InputError(
                f"labels by two methods: {first!r} ({where[first]}) and {other!r} "
                f"({where[other]}); a training on both would learn neither",
                f'take labels of one, or, if both are one, say labels.same_method = ["{first}", '
                f'"{other}"]',
            )


def check_one_spin(brought: Sequence[tuple[Path, Structures]]) -> None:
    """Refuse labels of one molecule that differ in charge or multiplicity.

    Raises
    ------
    InputError
        Naming two frames.
    """
    first: tuple[Path, int, int] | None = None
    for path, structures in brought:
        pairs = zip(structures.charges, structures.multiplicities, strict=True)
        for index, (charge, multiplicity) in enumerate(pairs):
            here = (path, int(charge), int(multiplicity))
            first = first or here
            if here[1:] != first[1:]:
                raise InputError(
                    f"{path}: frame {index} has charge {charge} and multiplicity {multiplicity}, "
                    f"the first frame of {first[0]} charge {first[1]} and multiplicity {first[2]}: "
                    "two surfaces of one molecule",
                    "take labels of one charge and multiplicity; a frame that says neither counts "
                    "as charge=0 multiplicity=1",
                )
