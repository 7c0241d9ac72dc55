"""What a worker runs for probing: one fine-tuned model, without dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apps.contract import Request, Result
from apps.probing.settings import ProbeSettings
from data_store.parts import Part, write_part

__all__ = ["probe_model"]

_ROWS = 256


def probe_model(request: dict[str, Any]) -> dict[str, Any]:
    """Probe one model: key ``arm``, ``labels``, ``seed``.

    Writes a part with the results in its metadata. It takes seconds, so that it never asks to be
    continued.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        part = _probed(req)
    low = float(part.metadata["probes"]["distorted_low"])
    return Result.done(part, {"distorted_low": low}).to_json()


def _probed(req: Request) -> Part:
    import torch

    from apps.probing.probes import ProbeSet, probe

    torch.set_num_threads(req.threads)
    settings = ProbeSettings.model_validate(req.settings)
    (model,), (structures,) = req.input_parts("model"), req.input_parts("structures")
    numbers = structures.read("numbers", "", 0, int(structures.read("offsets", "", 1, 2)[0]))
    energy_of = _energy_function(model.file("model.safetensors"), numbers)
    found = probe(energy_of, ProbeSet.of(structures), settings.low_fraction)
    metadata = {**req.key, "low_fraction": settings.low_fraction, "probes": found}
    return write_part(Path(req.parts_root), req.stage, req.fingerprint, {}, metadata)


def _energy_function(weights: Path, numbers: Any) -> Any:
    """Energies of copies of one molecule, without forces."""
    import numpy as np
    import torch

    from apps.potential.batch import DenseBatch
    from apps.potential.evaluate import total_energies
    from apps.potential.weights import load_potential

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    potential = load_potential(weights).to(device)
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
