"""What a campaign will take, as tables: node-hours, files and bytes. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from campaign.costs.cost import Cost
from campaign.costs.ranges import Range
from campaign.costs.storage import Storage

__all__ = ["cost_in_words", "cost_table", "storage_in_words"]


def cost_table(cost: Cost) -> Table:
    """Node-hours that are left to do, by stage, with what they are known from."""
    table = Table(title="Node-hours to come", title_justify="left", box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("low", "expected", "high"):
        table.add_column(name, justify="right")
    table.add_column("from", overflow="fold")
    for stage in cost.stages:
        table.add_row(stage.title, *_cells(stage.node_hours), "; ".join(stage.basis))
    for pool in cost.pools:
        blocks = "" if pool.blocks is None else f" of about {pool.blocks} blocks"
        table.add_row(f"pool {pool.pool}", *_cells(pool.start_up), f"starting{blocks}")
        table.add_row(f"pool {pool.pool}", *_cells(pool.idle), "workers without work")
    table.add_row("all", *_cells(cost.node_hours), "all erring to one side")
    return table


def cost_in_words(cost: Cost) -> Iterator[str]:
    """Lines on what the table does not hold."""
    if not cost.stages:
        yield "node-hours: none, all is made"
    if cost.unknown:
        yield f"not in the sum, since nothing is known of it: {', '.join(cost.unknown)}"


def storage_in_words(storage: Storage) -> Iterator[str]:
    """Files and bytes that the workspace will hold."""
    yield (
        f"the workspace will hold about {storage.files} files, {_size(storage.bytes)}; "
        f"{storage.files_now} files and {_size(storage.bytes_now)} are there"
    )
    estimated = [stage.stage for stage in storage.stages if stage.basis != "measured"]
    if estimated:
        yield f"computed from shapes, since none is there to be measured: {', '.join(estimated)}"


def _cells(hours: Range | None) -> tuple[str, str, str]:
    if hours is None:
        return "–", "–", "–"
    return _number(hours.low), _number(hours.expected), _number(hours.high)


def _number(value: float) -> str:
    """Two digits, in plain notation."""
    rounded = float(f"{value:.2g}")
    return "< 0.001" if 0.0 < rounded < 0.001 else f"{rounded:g}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000.0 or unit == "TB":
            break
        count /= 1000.0
    return f"{count:.3g} {unit}"
