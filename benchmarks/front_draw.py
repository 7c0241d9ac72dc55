"""The front of force error against cost of a step, from what the other front benchmarks printed.

Usage, from the root of the repository::

    python -m benchmarks.front_draw ROWS.jsonl [OUT.svg]

ROWS holds the lines of `benchmarks.front` and `benchmarks.front_peers` (errors) and of
`benchmarks.front_costs` (costs), in any order; the last one of a model counts. Prints the table,
says which models are beaten in both by one of ours, and draws. Those collected so far are in
`benchmarks/front.jsonl`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_OURS = "painn"
_COLUMNS = (
    "model", "parameters", "core_minutes", "structures_per_s", "test_force_mae_meV_per_A",
    "test_energy_mae_meV_per_atom", "us_per_atom_step", "MFLOP_per_atom", "MB_per_atom",
    "share_of_matrix_rate",
)  # fmt: skip


def main() -> None:
    rows = _rows(Path(sys.argv[1]))
    print("| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|")
    for row in rows:
        print("| " + " | ".join(_said(row.get(column)) for column in _COLUMNS) + " |")
    placed = [row for row in rows if "us_per_atom_step" in row]
    for row in placed:
        if not row["model"].startswith(_OURS):
            beaten = [o["model"] for o in placed if o["model"].startswith(_OURS) and _beats(o, row)]
            better = [o["model"] for o in placed if o["model"].startswith(_OURS) and _beats(row, o)]
            print(f"{row['model']}: beaten in both by {beaten or 'none'}; beats {better or 'none'}")
    if len(sys.argv) > 2:
        _draw(placed, Path(sys.argv[2]))


def _rows(path: Path) -> list[dict[str, Any]]:
    """Errors, each with the cost of the model of that name."""
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    errors = {row["model"]: row for row in told if "test_force_mae_meV_per_A" in row}
    costs = {row["model"]: row for row in told if "us_per_atom_step" in row}
    joined = [{**_cost(name, costs), **row} for name, row in errors.items()]
    return sorted(joined, key=lambda row: row["test_force_mae_meV_per_A"])


def _cost(name: str, costs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of a model; a peer's errors name its version too."""
    return costs.get(name) or costs.get(name.split()[0], {})


def _said(value: Any) -> str:
    if isinstance(value, list):
        return "{} ({} to {})".format(*value)
    return "" if value is None else str(value)


def _beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether it is both faster and more accurate."""
    faster = one["us_per_atom_step"][0] < other["us_per_atom_step"][0]
    return bool(faster and one["test_force_mae_meV_per_A"] < other["test_force_mae_meV_per_A"])


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for row in rows:
        cost, error = row["us_per_atom_step"][0], row["test_force_mae_meV_per_A"]
        colour = "C0" if row["model"].startswith(_OURS) else "C1"
        axes.plot(cost, error, "o", color=colour)
        axes.annotate(row["model"], (cost, error), xytext=(5, 4), textcoords="offset points")
    axes.set(
        xscale="log", yscale="log", xlabel="processor time of an atom's step, µs",
        ylabel="force MAE on rMD17 aspirin, meV/Å",
    )  # fmt: skip
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
