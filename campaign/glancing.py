"""`Glances`: a look at every part that a launch builds on, before anything is made from it.

A glance opens a part's manifest and compares the sizes of its files: a tenth of a millisecond, or
several on a slow file system. So the first are taken before workers start, for as long as one
waits gladly; of what is left, a part's inputs when it is about to be handed out, and the rest while
the driver has nothing else to do. All are taken before a launch ends. Damage stops it: nothing is
mended or moved here.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from campaign.plan.items import PlannedPart
from campaign.verifying import Damage, refusal
from campaign.workspace import Workspace
from data_store.parts import glance_at_part, part_path

__all__ = ["Glances", "glances_of"]


class Glances:
    """Parts that are to be glanced at, each once.

    Parameters
    ----------
    parts : iterable of PlannedPart
        In the order in which they are glanced at.
    parts_root : Path
        Where they lie.
    """

    def __init__(self, parts: Iterable[PlannedPart] = (), parts_root: Path = Path()) -> None:
        self._left = {part.fingerprint: part for part in parts}
        self._parts_root = parts_root
        self._damaged: list[Damage] = []

    def __len__(self) -> int:
        """How many are left."""
        return len(self._left)

    def go_on(self, for_s: float = math.inf) -> None:
        """Glance at what is left, for so long."""
        until = time.monotonic() + for_s
        while self._left and time.monotonic() < until:
            self._look(next(iter(self._left)))

    def cover(self, part: PlannedPart, for_s: float) -> bool:
        """Whether all was glanced at that a part is made from, or lies in its place.

        What was not is glanced at now, for so long.

        Raises
        ------
        InputError
            If anything that was glanced at so far is damaged.
        """
        until = time.monotonic() + for_s
        needed = (part.fingerprint, *part.needs) if self._left else ()
        for fingerprint in needed:
            if fingerprint in self._left:
                if time.monotonic() >= until:
                    return False
                self._look(fingerprint)
        self.refuse_damaged()
        return True

    def refuse_damaged(self) -> None:
        """Stop where anything that was glanced at is damaged.

        Raises
        ------
        InputError
            Naming the damaged parts.
        """
        if self._damaged:
            raise refusal(self._damaged)

    def _look(self, fingerprint: str) -> None:
        part = self._left.pop(fingerprint)
        path = part_path(self._parts_root, part.stage, part.fingerprint)
        if problems := glance_at_part(path):
            self._damaged.append(
                Damage(part.stage, part.label, part.fingerprint, path, tuple(problems))
            )


def glances_of(plan: Sequence[PlannedPart], workspace: Workspace) -> Glances:
    """All parts of a plan whose folder is there, be it without a manifest.

    What parts that are not there are made from comes first, in their order.
    """
    names = {stage: _names(workspace.parts / stage) for stage in {p.stage for p in plan}}
    there = {part.fingerprint: part for part in plan if part.fingerprint in names[part.stage]}
    absent = [part for part in plan if part.fingerprint not in there]
    first = (need for part in absent for need in part.needs)
    order = dict.fromkeys([*first, *there])
    return Glances((there[one] for one in order if one in there), workspace.parts)


def _names(folder: Path) -> set[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return {entry.name for entry in entries}
    return set()
