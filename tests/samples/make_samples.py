"""Writes the stored samples: a part and a weights file as this version of the project writes them.

Run once for each schema (``python -m tests.samples.make_samples``), with the version that writes
it; what lies here already is left as it is. Values follow from their index alone, so that a test
knows them without having made them. Nothing in here is a result.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.potential.weights import SCHEMA as WEIGHTS_SCHEMA
from apps.potential.weights import save_bytes
from data_store.manifests import SCHEMA as PART_SCHEMA
from data_store.parts import part_path, write_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures

HERE = Path(__file__).parent
STAGE = "sample"
FINGERPRINT = "5a" * 32
METADATA = {"tiers": {"noise": 3}, "note": "Å, not a result"}
MODEL = b"content that is no array"
NOT_HERE = {"created_unix": 0.0, "host": "sample", "cpu": "sample", "python": "", "packages": {}}


def structures() -> Structures:
    """Three water molecules with energies and forces, by arithmetic."""
    values = np.arange(27, dtype=np.float64).reshape(3, 3, 3)
    return Structures.from_dense(
        np.array([8, 1, 1]), values / 8, energies=np.arange(3) - 2041.5, forces=-values / 16
    )


def patterned(potential: Potential) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of a potential's shapes, their values by arithmetic."""
    for number, (name, tensor) in enumerate(sorted(potential.state_dict().items())):
        steps = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
        yield name, ((steps + number) % 7 / 8).to(tensor.dtype)


def fresh_potential() -> Potential:
    """The potential whose weights are stored, before they are laid in."""
    return make_potential("painn", "small", [1, 8], 4.0, seed=0)


def part_folder(schema: int) -> Path:
    """Where the part of a schema is stored."""
    return part_path(HERE / f"parts-schema-{schema}", STAGE, FINGERPRINT)


def weights_file(schema: int) -> Path:
    """Where the weights of a schema are stored."""
    return HERE / f"weights-schema-{schema}.safetensors.gz"


def main() -> None:
    """Write what is missing of the schemas of this version."""
    if not part_folder(PART_SCHEMA).exists():
        write_part(
            part_folder(PART_SCHEMA).parents[1], STAGE, FINGERPRINT,
            structures_to_columns(structures()), METADATA, files={"model.bin": MODEL},
            attachments={"log.txt": b"0.1 s"}, provenance=NOT_HERE,
        )  # fmt: skip
    if not weights_file(WEIGHTS_SCHEMA).exists():
        potential = fresh_potential()
        potential.load_state_dict(dict(patterned(potential)))
        data = save_bytes(potential, {"note": "not a result"})
        weights_file(WEIGHTS_SCHEMA).write_bytes(gzip.compress(data, mtime=0))


if __name__ == "__main__":
    main()
