"""Weights that a training starts from where there is no pre-trained model: fresh, or a file's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.potential.settings import PotentialSettings
from apps.potential.weights import load_potential
from data_store.errors import InputError

__all__ = ["starting_potential"]

_STATED = ("architecture", "size", "cutoff_A", "prior")


def starting_potential(
    chosen: PotentialSettings, species: Sequence[int], seed: int, start: Path | str | None
) -> Potential:
    """Potential as the settings say, in float32.

    Parameters
    ----------
    chosen : PotentialSettings
    species : sequence of int
        Atomic numbers it shall know; a file's potential knows the file's.
    seed : int
        Decides fresh weights; a file's are what they are.
    start : Path or str or None
        Weights file to start from, instead of from fresh weights.

    Raises
    ------
    InputError
        If settings and file contradict each other, the file's potential lacks an element, or no
        such potential can be made.
    StoreError
        If the file is unreadable, damaged, foreign, or of a newer version.
    """
    if start is None:
        return make_potential(
            chosen.architecture, chosen.size, species, chosen.cutoff_A, seed, chosen.prior
        )
    potential = load_potential(Path(start)).float()
    asked, found = ({k: getattr(p, k) for k in _STATED} for p in (chosen, potential))
    if asked != found:
        lines = ", ".join(f"{k} = {found[k]!r}" for k in _STATED if asked[k] != found[k])
        raise InputError(
            f"[potential] is not what start_from = {str(start)!r} holds",
            f"write what the file holds: {lines}",
        )
    potential.check_species(torch.tensor(sorted(set(species))))
    return potential
