"""A small file of published-like labels: two channels and a second surface, with paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["SPECIES", "write_channels"]

SPECIES = ("[H][H]", "O", "[OH]")
_DEPTH_eV = {"HH": 4.7, "HO": 4.6}
_LENGTH_A = {"HH": 0.74, "HO": 0.97}


def morse_pairs(symbols: str, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Energy (eV) and forces (eV/Å) of Morse curves between all pairs, and none of O and O."""
    at = torch.tensor(x, requires_grad=True)
    energy = torch.zeros((), dtype=torch.float64)
    for i in range(len(symbols)):
        for j in range(i):
            kind = "".join(sorted(symbols[i] + symbols[j]))
            if kind in _DEPTH_eV:
                stretch = torch.linalg.vector_norm(at[i] - at[j]) - _LENGTH_A[kind]
                energy = energy + _DEPTH_eV[kind] * ((1 - torch.exp(-1.9 * stretch)) ** 2 - 1)
    (gradient,) = torch.autograd.grad(energy, at)
    return float(energy.detach()), -gradient.numpy()


def _path(frames: int) -> NDArray[np.float64]:
    """O comes to H2 in line, and H leaves: (frames, 3, 3) of O, H, H."""
    place = np.linspace(-1.0, 1.0, frames)
    first = 0.97 + 0.6 * np.maximum(-place, 0.0)
    second = 0.74 + 0.6 * np.maximum(place, 0.0)
    x = np.zeros((frames, 3, 3))
    x[:, 1, 0], x[:, 2, 0] = first, first + second
    return x


def write_channels(path: Path, frames: int = 24, path_frames: int = 8) -> Path:
    """Write r02 (OHH, triplet), r08 (OHH, singlet) and r03 (OHHH, doublet), each with a path.

    Frames beside the paths are shaken ones of all along it, far apart in the source's order.
    """
    rng = np.random.default_rng(0)
    lines: list[str] = []
    for name, symbols in (("r02", "OHH"), ("r08", "OHH"), ("r03", "OHHH")):
        along = _path(path_frames)
        if len(symbols) == 4:  # a second hydrogen on the oxygen
            along = np.concatenate([along, np.tile([[[-0.3, 0.92, 0.0]]], (len(along), 1, 1))], 1)
        picked = along[rng.integers(0, path_frames, frames)]
        shaken = picked + rng.normal(0, 0.06, picked.shape)
        for kind, some, apart in (("irc", along, 1), ("aimd", shaken, 100)):
            for place, x in enumerate(some):
                energy, forces = morse_pairs(symbols, x)
                lines += [
                    str(len(symbols)),
                    f"Properties=species:S:1:pos:R:3:forces:R:3 rxn={name} kind={kind} "
                    f'src_index={apart * place} energy={energy!r} pbc="F F F"',
                ]
                lines += [
                    " ".join([s, *(f"{v:.8f}" for v in [*at, *force])])
                    for s, at, force in zip(symbols, x, forces, strict=True)
                ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
