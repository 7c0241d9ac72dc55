"""Pictures of the last frames before a failure: what went wrong, to the eye.

A projection on the plane in which the molecule is widest, the same for all frames of a picture;
atoms that decided are ringed, and joined by a dashed line where they are two. Depth is the order of
drawing alone. No renderer is needed.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from campaign.report.failures import Course
from campaign.report.inputs import FailurePicture
from campaign.report.plots import panels
from data_store.molecules import Molecule
from data_store.units import COVALENT_RADII_A

__all__ = ["course_figure", "failure_figure"]

_COLOURS = {1: "#f5f5f5", 6: "#6b6b6b", 7: "#3b6fd4", 8: "#d43b3b", 16: "#e0c020", 17: "#3fb950"}
_DECIDING = "#c1121f"
_FRAMES = 4
_ATOM_SIZE = 0.9
"""Diameter of an atom's disc over its covalent radius."""


def failure_figure(picture: FailurePicture, molecule: Molecule) -> Figure:
    """Four frames from the earliest kept to the failing one."""
    frames = picture.frames.astype(np.float64)
    chosen = np.unique(np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int))
    plane = _widest_plane(frames[chosen[0]])
    placed = (frames[chosen] - frames[chosen].mean(axis=1, keepdims=True)) @ plane.T
    reach = np.abs(placed[..., :2]).max(axis=(0, 1)) + 0.8
    # Panels have the shape of the molecule and one scale, so that no space is lost.
    height = float(np.clip(2.3 * reach[1] / reach[0], 0.9, 2.3))
    figure = Figure(figsize=(2.3 * len(chosen), height + 0.25), layout="constrained")
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    for ax, positions, index in zip(axes, placed, chosen, strict=True):
        _draw(ax, positions, molecule, picture.run.atoms, 2.3 * 72.0 / (2.0 * float(reach[0])))
        ax.set(xlim=(-reach[0], reach[0]), ylim=(-reach[1], reach[1]), aspect="equal")
        ax.set_axis_off()
        before = int(index) - (len(frames) - 1)
        ax.set_title("failure" if before == 0 else f"{before} frames", fontsize=8)
    return figure


def _widest_plane(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Principal axes, longest first."""
    centred = positions - positions.mean(axis=0)
    return np.asarray(np.linalg.svd(centred, full_matrices=True)[2])


def _draw(
    ax: Axes,
    positions: NDArray[np.float64],
    molecule: Molecule,
    deciding: tuple[int, ...],
    points_per_A: float,
) -> None:
    for i, j in molecule.bonds:
        line = positions[[i, j]]
        ax.plot(line[:, 0], line[:, 1], color="#999999", lw=1.5, zorder=1)
    if len(deciding) == 2:
        line = positions[list(deciding)]
        ax.plot(line[:, 0], line[:, 1], color=_DECIDING, lw=1.8, ls=(0, (2, 1.5)), zorder=1.5)
    for order, atom in enumerate(np.argsort(positions[:, 2])):
        number = molecule.numbers[atom]
        diameter = points_per_A * _ATOM_SIZE * COVALENT_RADII_A[number]
        ax.scatter(
            positions[atom, 0], positions[atom, 1],
            s=float(np.clip(diameter, 3.0, 22.0)) ** 2,
            color=_COLOURS.get(number, "#b07cc6"),
            edgecolors=_DECIDING if atom in deciding else "#333333",
            linewidths=2.0 if atom in deciding else 0.6,
            zorder=2.0 + order / len(positions),
        )  # fmt: skip


def course_figure(course: Course) -> Figure:
    """What decided over the last frames, with what the criterion allows."""
    figure, (ax,) = panels(1, 2.9, 1.9)
    ax.plot(course.times_fs, course.values, color=_DECIDING, marker=".", lw=1.2)
    for limit in course.limits:
        ax.axhline(limit, color="#333333", lw=0.9, ls=(0, (4, 2)))
    ax.set(xlabel="time before failure (fs)", ylabel=course.quantity)
    return figure
