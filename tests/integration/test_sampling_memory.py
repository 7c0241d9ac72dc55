"""What a worker that samples holds does not grow with what it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_WORKER = """
import sys
from apps.contract import Request
from apps.sampling.settings import SamplingSettings
from apps.sampling.task import prepare, sample

root, chunk, chunks, more = sys.argv[1], *map(int, sys.argv[2:])
system = {"system": {"smiles": "CC(=O)Oc1ccccc1C(=O)O"}, "force_field": "mmff94"}
made = prepare(Request(root, root, "prepare", "a" * 64, system, 0).to_json())
settings = SamplingSettings(chunk_structures=chunk).model_dump(mode="json")
inputs = {"molecule": [made["path"]]}
for number in range(chunks):
    key, fingerprint = {"chunk": number}, f"{number:064x}"
    sample(Request(root, root, "sample", fingerprint, settings, 0, key, inputs).to_json())
held = b"." * (more << 20)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def peak_MB(folder: Path, chunk: int, chunks: int, more: int = 0) -> float:
    """Largest memory of a worker; ru_maxrss would count that of this process, which starts it."""
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(folder), str(chunk), str(chunks), str(more)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout) / 1024.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("chunk", "chunks"), [(40_960, 1), (1_024, 6)])
def test_a_sampling_worker_stays_below_600_MB(tmp_path: Path, chunk: int, chunks: int) -> None:
    """Twenty times the default chunk, and a task of several, of aspirin."""
    assert peak_MB(tmp_path, chunk, chunks) < 600.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_worker_that_holds_more_is_caught(tmp_path: Path) -> None:
    assert peak_MB(tmp_path, 16, 1, more=600) > 600.0
