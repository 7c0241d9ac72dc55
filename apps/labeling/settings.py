"""Settings of the labels: computed by PySCF, or published ones from a file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["LabelSettings", "MethodSettings"]

Temperature = Annotated[float, Field(gt=0.0, le=10_000.0)]


class MethodSettings(BaseModel):
    """The ab initio method: what decides the numbers, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labeler: str = "pyscf"
    """Name in the registry of labelers: pyscf, gfn2-xtb or gfn1-xtb (extra xtb), or one that a
    package brings (docs/extending.md)."""

    functional: str = "PBE"
    """Exchange-correlation functional, as libxc and PySCF name it."""

    basis: str = "def2-SVP"
    """Gaussian basis set."""

    density_fit: bool = True
    """Density fitting; shifts totals by about 1e-4 Hartree, so one setting per data set."""

    dispersion: Literal["d3bj", "d4"] | None = None
    """Dispersion correction."""

    grid_level: int = Field(default=2, ge=0, le=9)
    """Integration grid of PySCF."""

    energy_tolerance_Hartree: float = Field(default=1e-9, gt=0.0)
    """Change of energy at which an SCF has converged."""

    max_cycles: int = Field(default=60, gt=0)
    """SCF cycles of the plain attempt; the fallbacks get more."""

    spin_contamination_max: float = Field(default=0.3, gt=0.0)
    """Largest deviation of ⟨S²⟩ from S(S+1) that a label may have."""


class LabelSettings(MethodSettings):
    """The ``[labels]`` table."""

    source: Literal["pyscf", "file"] = "pyscf"
    """Compute labels, with the method that `labeler` names; or import them."""

    file: str | None = None
    """Extended xyz with labels (eV, eV/Å) to train and validate on, for source "file"."""

    test_file: str | None = None
    """Extended xyz with labels to test on and to start dynamics from."""

    count: int = Field(default=60, gt=0)
    """Labels to compute."""

    test_count: int = Field(default=10, ge=0)
    """Labels kept aside to test on where there is no test_file."""

    candidates: int = Field(default=256, gt=0)
    """Thermal structures that labels and starts are drawn from."""

    select: str = "random"
    """How labels are chosen among the candidates: a name in the registry of strategies
    (`apps.selection.registry`)."""

    temperatures_K: tuple[Temperature, ...] = Field(default=(500.0,), min_length=1)
    """Temperatures of the candidates in K."""

    @model_validator(mode="after")
    def _source_fits(self) -> LabelSettings:
        if self.source == "file" and self.file is None:
            raise ValueError('source = "file" needs file = "….extxyz"')
        if self.source == "pyscf" and (self.file or self.test_file):
            raise ValueError('file and test_file belong to source = "file"')
        if self.source == "file" and self.select != "random":
            raise ValueError(
                f'select = "{self.select}" belongs to source = "pyscf"; of a file, all is used'
            )
        return self
