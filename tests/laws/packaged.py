"""Packages opened as a stranger opens them: a Python that cannot import this project.

The stranger is the program of ``docs/models.md``, in a process of its own without this project's
folders, its editable installation and its environment; importing it is refused there by name as
well, and it is asserted afterwards that nothing of it was loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np

from tests.unit import pages

__all__ = ["PAGE", "Answer", "ask", "structures"]

PAGE = (pages.DOCS / "models.md").read_text(encoding="utf-8")

STRANGER = """
import importlib
import json
import sys
import warnings
from pathlib import Path

OURS = {"campaign", "apps", "data_store"}


class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OURS:
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Refusing())
folder, *packages = sys.argv[1:]
sys.path[:0] = [folder, *packages]
for name in OURS:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported: nothing is shown by this process")

warnings.simplefilter("error")
import ase.io
import numpy as np
import torch
import use_compiled
import use_package

torch.set_num_threads(1)
found, about = {}, {}
for job in json.loads(Path(folder, "jobs.json").read_text()):
    file, name = job["file"], job["name"]
    module = use_compiled if job["compiled"] else use_package
    calculator = module.Packaged(file)
    about[name] = calculator.about
    for number, atoms in enumerate(ase.io.read(f"{folder}/structures.traj", ":")):
        atoms.calc = calculator
        found[f"{name}/{number}/energy"] = atoms.get_potential_energy()
        found[f"{name}/{number}/forces"] = atoms.get_forces()
    water = ase.io.read(f"{folder}/structures.traj", 0)
    numbers = torch.tensor(water.numbers)
    x = torch.tensor(water.positions)
    pairs = torch.tensor([[0, 1], [1, 0]])
    shifts = torch.zeros(2, 3, dtype=torch.float64)
    refused = {
        "unknown": (torch.full_like(numbers, 7), x, pairs, shifts),
        "no element": (torch.full_like(numbers, 300), x, pairs, shifts),
        "half": (numbers, x, pairs[:, :1].contiguous(), shifts[:1]),
        "wrong type": (numbers, x.float(), pairs, shifts),
        "transposed": (numbers, x, pairs.T.contiguous().T, shifts),
    }
    for kind, arguments in refused.items():
        try:
            calculator.run(*arguments)
            about[name][kind] = "answered"
        except (RuntimeError, IndexError) as error:
            about[name][kind] = str(error)
loaded = {name.partition(".")[0] for name in sys.modules} & OURS
if loaded:
    raise SystemExit(f"{loaded} were imported")
np.savez(f"{folder}/found.npz", **found)
Path(folder, "about.json").write_text(json.dumps(about))
"""


@dataclass(frozen=True)
class Answer:
    """What a package gave in the other process.

    Parameters
    ----------
    energies : list of float
        Of each structure, in eV.
    forces : list of ndarray
        In eV/Å.
    about : dict
        Its description, and by kind what it said to arguments that it should refuse.
    file : Path
        The package.
    """

    energies: list[float]
    forces: list[np.ndarray]
    about: dict[str, Any]
    file: Path


def structures() -> list[ase.Atoms]:
    """Water, molecules of other sizes, an atom, distorted ones, and periodic boxes of water."""
    from ase.build import molecule

    random = np.random.default_rng(5)
    found = [molecule(name) for name in ("H2O", "CH3CH2OH", "C6H6", "O")]
    for scale in (0.75, 1.0, 1.3):
        hot = molecule("CH3COOH")
        hot.positions = scale * hot.positions + 0.2 * random.normal(size=hot.positions.shape)
        found.append(hot)
    return [*found, _water_box(3, np.eye(3)), _water_box(2, np.array(_OBLIQUE))]


_OBLIQUE = [[1.0, 0, 0], [0.2, 1.0, 0], [-0.1, 0.3, 1.0]]


def _water_box(side: int, shape: np.ndarray) -> ase.Atoms:
    """Molecules at the density of water, turned at random, some across the border."""
    from ase.build import molecule

    random = np.random.default_rng(side)
    box = ase.Atoms(cell=3.1 * side * shape, pbc=True)
    for corner in np.ndindex(side, side, side):
        one = molecule("H2O")
        one.rotate(360 * random.random(), random.normal(size=3))
        one.positions += np.array(corner) @ (3.1 * shape) + 0.3 * random.normal(size=3)
        box += one
    return box


def ask(folder: Path, files: dict[str, Path], compiled: frozenset[str]) -> dict[str, Answer]:
    """Open packages in a process that cannot import this project, by the printed programs.

    Parameters
    ----------
    folder : Path
        Empty, for what goes there and comes back.
    files : dict of Path
        Packages by name.
    compiled : frozenset of str
        Which of them are compiled.
    """
    printed = pages.blocks(PAGE, "python")
    source = printed["use_package.py"]
    (folder / "use_package.py").write_text(source)
    start, end = source.index("        about = {"), source.index("    def calculate")
    loaded_so = source[:start] + printed["use_compiled.py"] + "\n" + source[end:]
    (folder / "use_compiled.py").write_text(loaded_so)
    (folder / "stranger.py").write_text(STRANGER)
    jobs = [{"name": n, "file": str(f), "compiled": n in compiled} for n, f in files.items()]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    ase.io.write(folder / "structures.traj", structures())
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    run = subprocess.run(
        [sys.executable, "-I", "-S", str(folder / "stranger.py"), str(folder), *packages],
        cwd=folder, capture_output=True, text=True, timeout=900,
        env={**environment, "OMP_NUM_THREADS": "1", "AOTI_RUNTIME_CHECK_INPUTS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    about = json.loads((folder / "about.json").read_text())
    count = len(structures())
    with np.load(folder / "found.npz") as found:
        return {
            name: Answer(
                [float(found[f"{name}/{i}/energy"]) for i in range(count)],
                [found[f"{name}/{i}/forces"] for i in range(count)],
                about[name],
                file,
            )
            for name, file in files.items()
        }
