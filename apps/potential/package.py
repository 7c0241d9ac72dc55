"""Files of a potential that are opened with torch alone, without this project.

Two kinds, both archives named ``.pt2`` of the graph of `apps.potential.export`:

- portable: read by ``torch.export.load``, on any machine and device;
- compiled, by AOTInductor, for the processor or GPU of the machine that made it: read by
  ``torch._inductor.aoti_load_package``. It holds a library, which runs as soon as it is loaded:
  open files only of people you trust. On a CPU its loops run on one thread.

Both say in JSON what they compute, in which units and order of arguments, and what they were
trained on. They are for using a model, not for training it on: that wants its weights
(`apps.potential.weights`).
"""

from __future__ import annotations

import copy
import io
import json
import tempfile
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from apps.potential.compiled import first_line
from apps.potential.export import check_same, export_program
from apps.potential.protocol import Potential
from data_store.errors import InputError, unknown_name

__all__ = ["MACHINES", "METADATA", "SCHEMA", "package_bytes"]

SCHEMA = 1
"""Version of the description; a reader without this project sees from it what to expect."""

METADATA = "campaign_potential"
"""Name of the description: ``NAME.json`` among a portable file's extra files, a key of the
metadata of a compiled one."""

MACHINES = ("any", "cpu", "cuda")
"""What a package can be made for: any machine, or the processor or GPU of this one."""

_ARGUMENTS = {
    "numbers": {"type": "int64", "shape": ["atoms"], "what": "atomic numbers"},
    "positions": {"type": "float64", "shape": ["atoms", 3], "unit": "Å"},
    "pairs": {
        "type": "int64",
        "shape": [2, "pairs"],
        "what": "centre and neighbour of all pairs closer than cutoff_A, in both directions",
    },
    "shifts": {
        "type": "float64",
        "shape": ["pairs", 3],
        "unit": "Å",
        "what": "added to the neighbour's position to reach its periodic image",
    },
}
_RESULTS = {
    "energy": {"type": "float64", "shape": [], "unit": "eV", "what": "total, with element shifts"},
    "forces": {"type": "float64", "shape": ["atoms", 3], "unit": "eV/Å"},
}


def package_bytes(
    potential: Potential,
    machine: str = "any",
    *,
    trained_on: Mapping[str, Any] | None = None,
) -> bytes:
    """Content of a package.

    Parameters
    ----------
    potential : Potential
        Its precision is the package's.
    machine : {"any", "cpu", "cuda"}
        What it is for.
    trained_on : mapping, optional
        JSON that is handed on in the description.

    Raises
    ------
    InputError
        If there is no such machine, the potential cannot be exported, or this machine cannot
        compile it.
    """
    if machine not in MACHINES:
        raise unknown_name("machine of a package", machine, MACHINES)
    if machine == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "a package for cuda is compiled on a machine with a CUDA device, and there is none",
            "make it there, or a portable one, which runs on GPUs too (docs/models.md)",
        )
    there = copy.deepcopy(potential).to("cpu" if machine == "any" else machine)
    program = export_program(there)
    about = _description(there, trained_on or {})
    if machine == "any":
        return _portable(program, about)
    return _compiled(program, there, {**about, "compiled_for": machine})


def _description(potential: Potential, trained_on: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "architecture": potential.architecture,
        "size": potential.size,
        "prior": potential.prior,
        "species": list(potential.species),
        "cutoff_A": potential.cutoff_A,
        "precision": str(potential.dtype).removeprefix("torch."),
        "arguments": _ARGUMENTS,
        "results": _RESULTS,
        "trained_on": dict(trained_on),
        "made_with": {name: metadata.version(name) for name in ("mlip-campaign", "torch")},
        "compiled_for": None,
    }


def _portable(program: ExportedProgram, about: dict[str, Any]) -> bytes:
    # What it was traced on would be kept as a pickle, and is of no use to anyone.
    program.example_inputs = None
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={f"{METADATA}.json": json.dumps(about)})
    return content.getvalue()


def _compiled(program: ExportedProgram, potential: Potential, about: dict[str, Any]) -> bytes:
    options = {
        "aot_inductor.metadata": {METADATA: json.dumps(about)},
        # Its graph is right below the sizes that its heuristics assume, as `check_same` sees.
        "aot_inductor.check_lowerbound": False,
        # On several, sums over neighbours would be in no fixed order (and torch 2.13 fails).
        "cpp.threads": 1,
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        file = str(Path(folder) / "model.pt2")
        try:
            torch._inductor.aoti_compile_and_package(
                program, package_path=file, inductor_configs=options
            )
            run = torch._inductor.aoti_load_package(file)
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"the potential cannot be compiled on this machine: {first_line(error)}",
                "compiling needs a C++ compiler (g++); a portable package does not: --for any",
            ) from error
        check_same(run, potential)
        return Path(file).read_bytes()
