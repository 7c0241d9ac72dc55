"""Weights in a file: safetensors, with a versioned JSON header that says how to rebuild the model.

No pickle: a file from elsewhere can hold numbers, nothing that runs. The header is one canonical
text, so that equal weights are equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from data_store.errors import StoreError
from data_store.fingerprints import canonical_json

__all__ = ["SCHEMA", "load_potential", "read_header", "save_bytes"]

SCHEMA = 3
"""Version of the header. A reader upgrades older files step by step and refuses newer ones."""

_KEY = "campaign_potential"

Content = tuple[dict[str, Any], dict[str, Tensor]]


def _without_prior(content: Content) -> Content:
    """Schema 1 knew no priors."""
    header, tensors = content
    return {**header, "prior": "none"}, tensors


def _without_hyperparameters(content: Content) -> Content:
    """Schema 2 knew none beside size, species and cutoff."""
    header, tensors = content
    return {**header, "hyperparameters": {}}, tensors


_UPGRADES: dict[int, Callable[[Content], Content]] = {
    1: _without_prior,
    2: _without_hyperparameters,
}
"""From a schema to the next."""


def save_bytes(potential: Potential, extra: Mapping[str, Any] | None = None) -> bytes:
    """Content of a weights file.

    Parameters
    ----------
    potential : Potential
    extra : mapping, optional
        More JSON for the header (what it was trained on).
    """
    header = {
        "schema": SCHEMA,
        "architecture": potential.architecture,
        "size": potential.size,
        "cutoff_A": potential.cutoff_A,
        "species": list(potential.species),
        "prior": potential.prior,
        "hyperparameters": dict(potential.hyperparameters),
        "extra": dict(extra or {}),
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in potential.state_dict().items()}
    data: bytes = save(tensors, metadata={_KEY: canonical_json(header)})
    return data


def read_header(data: bytes, source: str = "weights") -> dict[str, Any]:
    """Header of a weights file.

    Raises
    ------
    StoreError
        If it is no weights file of this project, or damaged.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        outer = json.loads(data[8 : 8 + length].decode("utf-8"))
        header = json.loads(outer["__metadata__"][_KEY])
        if not isinstance(header["schema"], int):
            raise TypeError("schema is no number")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{source} holds no weights that this project wrote ({type(error).__name__})",
            "expected a safetensors file with a header `campaign_potential`",
        ) from error
    return dict(header)


def load_potential(source: Path | bytes) -> Potential:
    """Potential from a weights file or its content, in the precision it was saved in.

    Raises
    ------
    StoreError
        If it is unreadable, damaged, foreign, or of a newer version.
    """
    name = str(source) if isinstance(source, Path) else "weights"
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
        header = read_header(data, name)
        tensors = load(data)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot read {name}: {error}") from error
    if not 1 <= header["schema"] <= SCHEMA:
        raise StoreError(
            f"{name} has schema {header['schema']}, this version reads 1 to {SCHEMA}",
            "use the version of the project that wrote it",
        )
    for version in range(header["schema"], SCHEMA):
        header, tensors = _UPGRADES[version]((header, tensors))
    return _rebuild(header, tensors, name)


def _rebuild(header: dict[str, Any], tensors: dict[str, Tensor], name: str) -> Potential:
    try:
        potential = make_potential(
            header["architecture"], header["size"], header["species"], header["cutoff_A"], 0,
            header["prior"], header["hyperparameters"],
        )  # fmt: skip
        if tensors["scale"].element_size() == 8:
            potential.double()
        potential.load_state_dict(tensors)
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise StoreError(f"weights of {name} do not fit their header: {error}") from error
    return potential
