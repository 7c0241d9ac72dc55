"""What a worker runs for probing: a fine-tuned model, or a reference method, without dynamics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.contract import Request, Result
from apps.probing.settings import ProbeSettings
from data_store.molecules import Molecule
from data_store.parts import Part, write_part

__all__ = ["probe_method", "probe_model"]

_ROWS = 256


def probe_model(request: dict[str, Any]) -> dict[str, Any]:
    """Probe one model: key ``arm``, ``labels``, ``seed``.

    Writes a part with the results in its metadata. It takes seconds, so that it never asks to be
    continued.
    """
    req = Request.from_json(request)
    return _probed(req, _energies_of_model).to_json()


def probe_method(request: dict[str, Any]) -> dict[str, Any]:
    """Probe a reference method: key ``method``.

    Writes a part like `probe_model` does, some thousands of single energies. It takes a minute or
    two, so that it never asks to be continued.

    Raises
    ------
    InputError
        If its package is not installed.
    """
    req = Request.from_json(request)
    return _probed(req, _energies_of_method).to_json()


def _probed(req: Request, energies_of: Callable[[Request, Part], Any]) -> Result:
    part = req.finished_part()
    if part is None:
        part = _made(req, energies_of)
    low = float(part.metadata["probes"]["distorted_low"])
    return Result.done(part, {"distorted_low": low})


def _made(req: Request, energies_of: Callable[[Request, Part], Any]) -> Part:
    from apps.probing.probes import ProbeSet, probe

    settings = ProbeSettings.model_validate(req.settings)
    (structures,) = req.input_parts("structures")
    energy_of = energies_of(req, structures)
    found = probe(energy_of, ProbeSet.of(structures), settings.low_fraction)
    metadata = {**req.key, "low_fraction": settings.low_fraction, "probes": found}
    return write_part(Path(req.parts_root), req.stage, req.fingerprint, {}, metadata)


def _energies_of_method(req: Request, _: Part) -> Any:
    from apps.potential.xtb import ReferenceMethod

    (prepared,) = req.input_parts("molecule")
    molecule = Molecule.from_json(prepared.metadata["molecule"])
    name = str(req.key["method"])
    return ReferenceMethod(name, molecule.numbers, molecule.charge, molecule.multiplicity).energies


def _energies_of_model(req: Request, structures: Part) -> Any:
    """Energies of copies of one molecule, without forces."""
    import numpy as np
    import torch

    from apps.potential.batch import DenseBatch
    from apps.potential.evaluate import total_energies
    from apps.potential.weights import load_potential

    torch.set_num_threads(req.threads)
    (model,) = req.input_parts("model")
    numbers = structures.read("numbers", "", 0, int(structures.read("offsets", "", 1, 2)[0]))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    potential = load_potential(model.file("model.safetensors")).to(device)
    kinds = torch.from_numpy(numbers.astype(np.int64)).to(device)

    def energy_of(positions: Any) -> Any:
        energies = [np.zeros(0)]
        for start in range(0, len(positions), _ROWS):
            rows = torch.from_numpy(positions[start : start + _ROWS]).to(device, potential.dtype)
            batch = DenseBatch(kinds.expand(len(rows), -1), rows)
            with torch.no_grad():
                found = total_energies(potential, batch, potential.network_energy(batch))
            energies.append(found.cpu().numpy())
        return np.concatenate(energies)

    return energy_of
