"""What a worker runs to import published labels that name the channels they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from apps.contract import Request, Result
from apps.labeling.channel_choice import PATH, read_channels
from apps.labeling.published import check_made_of
from apps.labeling.surface import surface_of
from data_store.columns import Column
from data_store.extxyz import frame_methods
from data_store.fingerprints import file_digest
from data_store.molecules import Molecule
from data_store.parts import Part, write_part
from data_store.structure_parts import structures_to_columns

__all__ = ["import_channels"]


def import_channels(request: dict[str, Any]) -> dict[str, Any]:
    """Import labels of channels: file ``labels``, key ``role`` ("labels" or "test").

    Writes a part of structures with two columns more: ``channel``, a place in ``channels.names`` of
    the metadata, and ``on_path``. What is left out is counted by channel and reason, in the part of
    role "labels".

    Raises
    ------
    InputError
        If the file is unusable; the frame is named.
    """
    req = Request.from_json(request)
    part = req.finished_part() or _imported(req)
    counts = {"labels": float(part.metadata["labels"])}
    if out := sum(int(item["count"]) for item in part.metadata["left_out"]):
        counts["left_out"] = float(out)
    return Result.done(part, counts).to_json()


def _imported(req: Request) -> Part:
    file, role, settings = Path(req.files["labels"]), req.key["role"], req.settings
    table, held_out = str(settings["channels"]), settings["held_out_channels"]
    structures, tags, choice = read_channels(file, table, settings["surfaces"], held_out)
    rows = choice.train if role == "labels" else choice.test
    chosen = structures.take(rows)
    molecules = [Molecule.from_json(p.metadata["molecule"]) for p in req.input_parts("molecule")]
    check_made_of(str(settings["kind"]), file, chosen, molecules)
    names = sorted({tags.channels[row] for row in rows})
    columns = structures_to_columns(chosen) | {
        "channel": Column(np.array([names.index(tags.channels[row]) for row in rows], np.int16)),
        "on_path": Column(np.array([tags.kinds[row] == PATH for row in rows])),
    }
    left_out = choice.left_out if role == "labels" else {}
    method = {"file_digest": file_digest(file), "frames_say": frame_methods(file)}
    return write_part(
        Path(req.parts_root), req.stage, req.fingerprint, columns,
        {
            "labels": len(rows),
            "left_out": [{"reason": r, "count": n} for r, n in left_out.items()],
            "channels": {"table": table, "names": names, "held_out": list(held_out)},
        },
        provenance={"file": file.name, "surface": surface_of(method, chosen)},
    )  # fmt: skip
