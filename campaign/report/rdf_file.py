"""g(r) from a file of the user's, in place of the labels': a table whose header names the pairs.

The first line names the columns: ``r_A`` and pairs of elements, such as ``r_A O-O O-H H-H``; a
``#`` may precede it. Rows are numbers, with blanks or commas between them, at even distances in r,
each the mean over a bin about it. The unit is in the header because published tables come in Å and
in Bohr without saying so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from campaign.report.liquid_inputs import LiquidReference
from campaign.statistics.structural_failure import RANGE_A, ReferenceCurve
from data_store.elements import NUMBERS
from data_store.errors import InputError

__all__ = ["read_rdf"]

_LARGEST = 1e6
_FORM = "a first line such as 'r_A O-O O-H H-H', then a row of numbers for each r in Å"


def read_rdf(path: Path) -> LiquidReference:
    """Read a table of g(r).

    Raises
    ------
    InputError
        If it cannot be read, or is no such table.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", f"g(r) is a text file: {_FORM}"
        ) from None
    kept = [line for line in lines if line.strip()]
    if not kept:
        raise InputError(f"{path} is empty", f"g(r) wants {_FORM}")
    names = kept[0].lstrip("# ").replace(",", " ").split()
    pairs = [_pair(name, path) for name in names[1:]]
    if names[:1] != ["r_A"] or not pairs or len(set(pairs)) != len(pairs):
        raise InputError(
            f"{path} begins with {kept[0][:60]!r}",
            f"g(r) wants {_FORM}; convert r to Å where it is in Bohr",
        )
    rows = [line for line in kept[1:] if not line.lstrip().startswith("#")]
    table = _numbers(rows, len(names), path)
    edges = _edges(table[:, 0], path)
    if table[:, 1:].min() < 0.0:
        raise InputError(f"{path} has a g(r) of {table[:, 1:].min():g}", "g(r) is 0 or more")
    inside = int((edges <= RANGE_A * (1.0 + 1e-9)).sum())
    if inside < 2:
        raise InputError(f"{path} begins at {edges[0]:g} Å", f"g(r) to {RANGE_A:g} Å is compared")
    shown = {p: ReferenceCurve(edges, table[:, 1 + k]) for k, p in enumerate(pairs)}
    curves = {p: ReferenceCurve(edges[:inside], c.g[: inside - 1]) for p, c in shown.items()}
    return LiquidReference(f"the file {path.name}", 0, curves, shown, {}, 0.0)


def _pair(name: str, path: Path) -> str:
    """A pair with its heavier element first."""
    ends = name.split("-")
    if len(ends) != 2 or not all(end in NUMBERS for end in ends):
        raise InputError(f"{path} names a column {name!r}", f"g(r) wants {_FORM}")
    return "-".join(sorted(ends, key=lambda symbol: -NUMBERS[symbol]))


def _numbers(rows: list[str], columns: int, path: Path) -> NDArray[np.float64]:
    table = []
    for row in rows:
        try:
            values = [float(word) for word in row.replace(",", " ").split()]
        except ValueError:
            values = []
        if len(values) != columns or not np.all(np.abs(values) < _LARGEST):
            raise InputError(
                f"{path} has a row {row[:60]!r}",
                f"{columns} numbers below {_LARGEST:g} are wanted in each row",
            )
        table.append(values)
    if len(table) < 2:
        raise InputError(f"{path} has {len(table)} rows of numbers", "at least two are wanted")
    return np.array(table, dtype=np.float64)


def _edges(r: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """Edges of bins about each r; none begins below 0."""
    steps = np.diff(r)
    width = float(steps.mean())
    if r[0] < 0.0 or not 1e-3 <= width <= 1.0 or np.abs(steps - width).max() > 0.02 * width:
        raise InputError(
            f"{path} has r from {r[0]:g} to {r[-1]:g}, {steps.min():g} to {steps.max():g} apart",
            "r is 0 or more and rises by even steps of 0.001 to 1 Å",
        )
    middles = r[0] + width * np.arange(len(r))
    edges = np.append(middles - 0.5 * width, middles[-1] + 0.5 * width)
    return np.asarray(np.maximum(edges, 0.0))
