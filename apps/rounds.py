"""`Standing`: the labels that a chain of active learning has so far, as the part of a round.

One part serves training as labels and as split: the common labels that every chain begins with,
the campaign's test labels where it has no file of them, and what each round added. What a round
finds to be over it repeats (`repeat_part`): the plan is fixed before anything runs, and a chain
that ends early leaves the rest of its rounds empty instead of unplanned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.contract import Request
from data_store.columns import Column
from data_store.parts import Part, write_part
from data_store.splits import validation_count
from data_store.streams import stream
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures, concatenate

__all__ = ["COMPUTED", "Standing", "repeat_part"]

COMPUTED = -1
"""Row, in the published labels, of a label that is not from there."""

_SIDES = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Standing:
    """Labels so far.

    Parameters
    ----------
    structures : Structures
        Labelled.
    train, validation, test : ndarray of int64
        Rows of the structures.
    rows : ndarray of int64, shape (S,)
        Row of each structure in the campaign's labels; `COMPUTED` where it is from no row.
    calls : int
        Expert calls so far, failed ones among them; those of the test labels are not.
    new : int
        Labels that the last round added.
    over : str
        Why the chain is over; empty while it goes on.
    """

    structures: Structures
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    rows: NDArray[np.int64]
    calls: int
    new: int
    over: str

    @staticmethod
    def of(part: Part) -> Standing:
        """Standing that a part holds."""
        told = part.metadata
        return Standing(
            structures=read_structures(part),
            train=part.read("train", ""),
            validation=part.read("validation", ""),
            test=part.read("test", ""),
            rows=part.read("rows", ""),
            calls=int(told["calls"]),
            new=int(told["new"]),
            over=str(told["over"]),
        )

    def grown(
        self, more: Structures, rows: NDArray[np.int64], calls: int, seed: int, number: int
    ) -> Standing:
        """Standing with the labels of one more round.

        Validation keeps its share (`validation_count`): which of the new ones validate is drawn.

        Parameters
        ----------
        more : Structures
            Labelled; there may be none.
        rows : ndarray of int64
            Of them in the campaign's labels.
        calls : int
            That the round took.
        seed, number : int
            Of the campaign, and of the round.
        """
        first, count = len(self.structures), len(more)
        used = len(self.train) + len(self.validation) + count
        wanted = max(0, min(validation_count(used) - len(self.validation), count))
        drawn = first + stream(seed, "active_learning", "split", number).permutation(count)
        return replace(
            self,
            structures=concatenate([self.structures, more]) if count else self.structures,
            train=np.concatenate([self.train, np.sort(drawn[wanted:])]).astype(np.int64),
            validation=np.concatenate([self.validation, np.sort(drawn[:wanted])]).astype(np.int64),
            rows=np.concatenate([self.rows, rows]).astype(np.int64),
            calls=self.calls + calls,
            new=count,
        )

    def ended(self, why: str) -> Standing:
        """The same labels, of a chain that is over."""
        return replace(self, new=0, over=why)

    def write(
        self, req: Request, told: Mapping[str, Any], provenance: Mapping[str, Any] | None = None
    ) -> Part:
        """Write the part of a round.

        Parameters
        ----------
        req : Request
        told : mapping
            What else is said of the round.
        provenance : mapping, optional
        """
        columns = structures_to_columns(self.structures) | {"rows": Column(self.rows)}
        columns |= {name: Column(getattr(self, name)) for name in _SIDES}
        said = {"calls": self.calls, "new": self.new, "over": self.over}
        return write_part(
            Path(req.parts_root), req.stage, req.fingerprint, columns, {**req.key, **said, **told},
            provenance=provenance,
        )  # fmt: skip


def repeat_part(
    req: Request,
    before: Part,
    *,
    files: tuple[str, ...] = (),
    attachments: tuple[str, ...] = (),
) -> Part:
    """Write the part of a request as what an earlier round made; its metadata say ``repeats``.

    Parameters
    ----------
    req : Request
    before : Part
    files, attachments : tuple of str
        Of `before`, that the new part has too.
    """
    return write_part(
        Path(req.parts_root),
        req.stage,
        req.fingerprint,
        {name: Column(before.read(name, unit), unit) for name, unit in before.units.items()},
        {**before.metadata, **req.key, "repeats": True},
        files={name: before.file(name).read_bytes() for name in files},
        attachments={name: before.file(name).read_bytes() for name in attachments},
    )
