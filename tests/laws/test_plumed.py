"""Bias, hills and forces against PLUMED, where its library is.

The package ``plumed`` of PyPI is an interface without the library; set PLUMED_KERNEL to that of an
installation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apps.dynamics.collective import with_gradients
from apps.dynamics.metadynamics import Bias, bias_at, biased, deposit, no_hills
from apps.dynamics.metadynamics_settings import MetadynamicsSettings

plumed = pytest.importorskip("plumed", reason="the package plumed is not installed")

PACE, STEPS, TEMPERATURE_K = 2, 24, 300.0
TABLE: dict[str, Any] = {
    "height_eV": 0.05,
    "pace_fs": 1.0,
    "bias_factor": 6.0,
    "variables": [
        {
            "width": 0.2, "grid_lower": 0.0, "grid_upper": 6.0, "grid_bins": 300,
            "terms": [
                {"kind": "distance", "atoms": [0, 1]},
                {"kind": "distance", "atoms": [2, 3], "coefficient": -0.4},
            ],
        },
        {
            "width": 0.1, "grid_lower": 0.0, "grid_upper": 4.0, "grid_bins": 400,
            "terms": [
                {"kind": "coordination", "group_a": [0, 2], "group_b": [1, 3], "r0_A": 1.6,
                 "n": 6, "m": 14},
            ],
        },
    ],
}  # fmt: skip
INPUT = """
UNITS LENGTH=A ENERGY=96.48533212331 TIME=0.001
d1: DISTANCE ATOMS=1,2 NOPBC
d2: DISTANCE ATOMS=3,4 NOPBC
d: COMBINE ARG=d1,d2 COEFFICIENTS=1,-0.4 PERIODIC=NO
c: COORDINATION GROUPA=1,3 GROUPB=2,4 SWITCH={RATIONAL R_0=1.6 NN=6 MM=14 NOSTRETCH} NOPBC
m: METAD ARG=d,c SIGMA=0.2,0.1 HEIGHT=0.05 PACE=2 BIASFACTOR=6 TEMP=300 FILE=HILLS
"""


def frames() -> torch.Tensor:
    """A walk of four atoms that stays where hills of ours and of PLUMED's overlap."""
    generator = torch.Generator().manual_seed(2)
    start = torch.tensor([[0.0, 0, 0], [1.6, 0, 0], [0.5, 1.4, 0], [1.9, 1.5, 0.6]])
    walk = 0.05 * torch.randn(STEPS, 4, 3, generator=generator, dtype=torch.float64)
    return start.double() + walk.cumsum(0)


def by_plumed(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Biases (eV) and forces (eV/Å) of all frames, and the file of hills."""
    try:
        code = plumed.Plumed()
    except RuntimeError as error:
        pytest.skip(f"PLUMED's library is not here: {error}")
    for command, value in [
        ("setMDEngine", "campaign"), ("setNatoms", 4), ("setTimestep", 0.0005),
        ("setMDLengthUnits", 0.1), ("setMDEnergyUnits", 96.48533212331),
        ("setKbT", 8.617333262e-5 * TEMPERATURE_K), ("setLogFile", str(folder / "log")),
    ]:  # fmt: skip
        code.cmd(command, value)
    code.cmd("init")
    for line in INPUT.strip().replace("FILE=HILLS", f"FILE={folder / 'HILLS'}").splitlines():
        code.cmd("readInputLine", line)
    energies, forces = [], []
    for step, x in enumerate(frames().numpy(), start=1):
        pull, bias, virial = np.zeros((4, 3)), np.zeros(1), np.zeros((3, 3))
        code.cmd("setStep", step)
        for name, value in [("setPositions", np.ascontiguousarray(x)), ("setForces", pull),
                            ("setMasses", np.ones(4)), ("setVirial", virial)]:  # fmt: skip
            code.cmd(name, value)
        code.cmd("calc")
        code.cmd("getBias", bias)
        energies.append(float(bias[0]))
        forces.append(pull.copy())
    code.finalize()
    rows = [line.split() for line in (folder / "HILLS").read_text().splitlines()]
    hills = np.array([row for row in rows if not row[0].startswith("#")], dtype=np.float64)
    return np.array(energies), np.array(forces), hills


CUT = float(np.exp(-6.25))
"""PLUMED cuts its Gaussians off at 6.25 in the exponent, lowered and stretched to be continuous."""


def disagreement(folder: Path, table: dict[str, Any]) -> tuple[float, float, float]:
    """Largest differences of bias, forces and heights, over those that the cutoff allows."""
    energies, forces, written = by_plumed(folder)
    bias = Bias(MetadynamicsSettings.model_validate(table), TEMPERATURE_K, 1, PACE, STEPS // PACE)
    hills, nobody = no_hills(bias, torch.device("cpu")), torch.zeros(1, dtype=torch.int64)
    function = biased(bias, hills, lambda x: (x.sum((1, 2)) * 0.0, x * 0.0))
    apart, forces_apart, heights_apart = [], [], []
    for step, frame in enumerate(frames(), start=1):
        values, gradients = with_gradients(frame[None], bias.variables)
        allowed = CUT * float(hills.heights.sum()) + 1e-6
        found, _ = bias_at(bias, hills.table, values)
        apart.append(abs(float(found[0]) - energies[step - 1]) / allowed)
        steepest = sum(
            float(gradients[0, d].abs().max()) / variable.width
            for d, variable in enumerate(bias.variables)
        )
        difference = np.abs(function(frame[None])[1][0].numpy() - forces[step - 1]).max()
        forces_apart.append(difference / (np.sqrt(12.5) * steepest * allowed))
        deposit(bias, hills, step, frame[None], nobody, torch.ones(1, dtype=torch.bool))
        if step % PACE == 0:
            row = hills.count - 1
            np.testing.assert_allclose(hills.centres[row, 0].numpy(), written[row, 1:3], atol=1e-7)
            gamma = bias.settings.bias_factor
            own = float(hills.heights[row, 0]) * gamma / (gamma - 1.0)
            heights_apart.append(abs(own / written[row, 5] - 1.0) / (allowed / bias.tempering_eV))
    assert len(written) == hills.count
    assert float(energies.max()) > 0.1
    assert float(np.abs(forces).max()) > 0.1
    return max(apart), max(forces_apart), max(heights_apart)


def test_bias_forces_and_hills_are_plumeds(tmp_path: Path) -> None:
    assert max(disagreement(tmp_path, TABLE)) < 1.0


@pytest.mark.parametrize("key", ["bias_factor", "height_eV"])
def test_known_bad_other_settings_are_seen(tmp_path: Path, key: str) -> None:
    assert max(disagreement(tmp_path, {**TABLE, key: 1.1 * TABLE[key]})) > 1.0
