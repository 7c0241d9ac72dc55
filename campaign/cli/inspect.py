"""``campaign inspect``: what a dataset holds, in words, as JSON, and as a figure.

Words and tables for a person; what is said is found out by `campaign.coverage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from campaign.cli.options import JsonOption, WorkspaceOption, say
from campaign.coverage.inspection import inspect_structures
from campaign.coverage.sources import source_of
from data_store.errors import InputError
from data_store.work import write_atomic

__all__ = ["inspect"]

FIGURES = ("png", "svg", "pdf")
"""Kinds of figure, by the file's suffix."""

_TITLES = {
    "energy_eV_per_atom": "energy above the lowest of its formula, eV/atom",
    "force_eV_per_A": "force on an atom, eV/Å",
    "shortest_over_radii": "shortest distance of a structure over the sum of covalent radii",
    "bond_stretch": "length of a bond over that at rest",
}
_QUANTILES = {"min": "least", "p5": "5 %", "median": "median", "p95": "95 %", "max": "most"}


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="Folder of a campaign, a workspace or a part, or extended xyz.",
            show_default=False,
        ),
    ],
    stage: Annotated[
        str | None, typer.Option(help="Of a campaign: whose structures; by default sample.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Figure to write ({', '.join(FIGURES)}).")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what structures there are: elements, tiers, energies, forces, contacts, duplicates."""
    if plot is not None and plot.suffix.removeprefix(".") not in FIGURES:
        raise InputError(f"--plot {plot}", f"name a file that ends in {', '.join(FIGURES)}")
    source = source_of(path, stage, workspace)
    inspection = inspect_structures(source.blocks, source.molecule)
    found = {"source": source.title, **inspection.found, "dynamics": source.dynamics}
    if plot is not None:
        from campaign.coverage.figure import coverage_figure, figure_bytes

        write_atomic(plot, figure_bytes(coverage_figure(inspection.coverage), plot.suffix))
        found["plot"] = str(plot)
    if as_json:
        say(found)
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{source.title}: {found['structures']:,} structures, {found['atoms']:,} atoms")
    for line in _counts(found):
        console.print(line)
    for table in _tables(found):
        console.print(table)
    for line in _below(found):
        console.print(line)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _counts(found: dict[str, Any]) -> Iterator[str]:
    yield f"elements: {_counted(found['elements'])}"
    yield f"formulae: {_counted(found['formulae'])}"
    for what in ("energies", "forces"):
        if found[f"without_{what}"]:
            yield f"without {what}: {found[f'without_{what}']:,}"


def _tables(found: dict[str, Any]) -> Iterator[Table]:
    """A table per measure, a row per tier."""
    rows = [*found["tiers"], {"tier": "all", **found["all"]}]
    for name, title in _TITLES.items():
        if found["all"][name] is None:
            continue
        table = Table(title=title, title_style="", title_justify="left")
        for heading in ("tier", "structures", *_QUANTILES.values()):
            table.add_column(heading, justify="left" if heading == "tier" else "right")
        for row in rows:
            summary = row[name] or {}
            cells = [f"{summary[q]:.3g}" if q in summary else "–" for q in _QUANTILES]
            table.add_row(row["tier"], f"{row['structures']:,}", *cells)
        yield table


def _below(found: dict[str, Any]) -> Iterator[str]:
    lowest = ", ".join(
        f"{name} {value:.6g} eV" for name, value in found["lowest_energy_eV"].items()
    )
    yield f"lowest energies: {lowest or 'there are none'}"
    yield "shortest contacts (atoms are numbered from 0):"
    for row in found["shortest_contacts"]:
        pair = "–".join(f"{s}{a}" for s, a in zip(row["elements"], row["atoms"], strict=True))
        yield (
            f"  structure {row['structure']}: {pair} {row['distance_A']:.3f} Å, "
            f"{row['over_radii']:.2f} of the covalent radii"
        )
    for row in found["dynamics"]:
        yield (
            f"dynamics at {row['temperature_K']:g} K: {row['frames']:,} frames, by the memory of "
            f"their energy worth {row['effective']:,.0f} independent ones"
        )
    duplicates = found["duplicates"]
    near = f"{duplicates['near']:,} have another within {duplicates['near_below_A']:g} Å (rms)"
    some = "" if duplicates["compared"] == found["structures"] else (
        f", among the first {duplicates['compared']:,}"
    )  # fmt: skip
    yield f"duplicates: {duplicates['exact']:,} exact; {near}{some}"
