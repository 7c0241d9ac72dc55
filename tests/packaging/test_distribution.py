"""What is installed is whole: data files are declared, versions agree, layers are kept."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("campaign", "apps", "data_store", "site_configs")


def test_every_data_file_is_declared() -> None:
    declared = PROJECT["tool"]["setuptools"]["package-data"]
    lost = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
        and not any(path.relative_to(ROOT / package).match(p) for p in declared.get(package, []))
    ]  # fmt: skip
    assert not lost, "these would be missing from an installation"


def test_every_folder_of_code_is_a_package() -> None:
    folders = {p.parent for package in PACKAGES for p in (ROOT / package).rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_each_dependency_is_pinned() -> None:
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    optional = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(spec for extra in optional for spec in extra)]
    names = {re.split(r"[<>=\[ ]", spec)[0].lower().replace("_", "-") for spec in wanted}
    assert names <= pinned


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).parent / "campaign"
    found = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert "launch" in found.stdout
    assert metadata.version("mlip-campaign") == PROJECT["project"]["version"]


@pytest.mark.parametrize("package", ["apps", "data_store"])
def test_task_and_settings_modules_load_nothing_heavy(package: str) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / package).rglob("*.py")
        if path.stem in {"task", "settings", "__init__", "contract", "runner"}
    ]
    heavy = ["torch", "parsl", "openmm", "rdkit", "pyscf", "mpi4py", "ase"]
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_nothing_pickles_and_nothing_seeds_the_world() -> None:
    forbidden = re.compile(
        r"^\s*import pickle|torch\.load\(|torch\.save\(|allow_pickle=True|np\.random\.seed|"
        r"random\.seed\(",
        re.MULTILINE,
    )
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = {p: forbidden.findall(p.read_text(encoding="utf-8")) for p in sources}
    # The one pickle that is ever opened is a file of MACE, and by one command alone.
    opened = {ROOT / "apps/potential/mace_file.py": ["torch.load("]}
    assert {p: what for p, what in found.items() if what} == opened
    users = {p for p in sources if "potential.mace_file import" in p.read_text(encoding="utf-8")}
    assert users == {ROOT / "campaign/cli/convert.py"}
