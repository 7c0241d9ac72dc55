"""Where and with what a part was made: kept beside the content digest, never in it.

From it a reader learns which promise of reproduction holds: equal digests are claimed for the same
CPU type, the same packages, one thread per worker and the same number of ranks; elsewhere values
agree within tolerances.
"""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["provenance"]

_PACKAGES = (
    "mlip-campaign", "numpy", "scipy", "torch", "openmm", "rdkit", "pyscf", "pyscf-dispersion",
    "tblite", "ase", "zarr", "tensorstore", "parsl", "mpi4py",
)  # fmt: skip


@cache
def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def provenance(**extra: Any) -> dict[str, Any]:
    """Host, processor, interpreter, package versions, thread setting and time of writing."""
    return {
        "created_unix": time.time(),
        "host": platform.node(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "packages": _versions(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
        "reproduces": "bitwise on the same cpu, packages, one thread and number of ranks; "
        "within tolerances elsewhere",
        **extra,
    }
