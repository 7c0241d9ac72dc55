"""Settings of the molecule and of the cheap teacher's structures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "ClashSettings",
    "LangevinSettings",
    "MoleculeSettings",
    "NoiseSettings",
    "SamplingSettings",
    "ScanSettings",
    "TierSettings",
]

Temperature = Annotated[float, Field(gt=0.0, le=10_000.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MoleculeSettings(_Strict):
    """The ``[system]`` table: one molecule, from its SMILES or a geometry."""

    kind: Literal["molecule"] = "molecule"
    """What is simulated."""

    name: str = "molecule"
    """What it is called in reports; no part of any identity."""

    smiles: str | None = None
    """SMILES; hydrogens are added."""

    xyz: str | None = None
    """File with one geometry (Å) instead; bonds are perceived from it."""

    charge: int | None = None
    """Total charge in e; by default that of the SMILES, or 0 for a geometry."""

    multiplicity: int | None = Field(default=None, ge=1)
    """Spin multiplicity 2S + 1; by default 1, or 2 for an odd number of electrons."""

    @model_validator(mode="after")
    def _one_source(self) -> MoleculeSettings:
        if (self.smiles is None) == (self.xyz is None):
            raise ValueError("give either smiles or xyz, one of the two")
        return self


class LangevinSettings(_Strict):
    """Frames of Langevin dynamics with the force field."""

    weight: float = Field(default=0.4, ge=0.0)
    """Share of the structures, relative to the other tiers."""

    temperatures_K: tuple[Temperature, ...] = Field(
        default=(300.0, 600.0, 1000.0, 1500.0, 2500.0), min_length=1
    )
    """Temperatures in K, in equal shares."""

    friction_per_ps: float = Field(default=5.0, gt=0.0)
    """Friction in 1/ps."""

    timestep_fs: float = Field(default=0.5, gt=0.0, le=2.0)
    """Time step in fs."""

    equilibration_fs: float = Field(default=500.0, ge=0.0)
    """Time before the first frame, in fs."""

    stride_fs: float = Field(default=20.0, gt=0.0)
    """Time between frames, in fs."""


class NoiseSettings(_Strict):
    """Thermal frames with Cartesian noise."""

    weight: float = Field(default=0.3, ge=0.0)
    """Share of the structures, relative to the other tiers."""

    amplitude_A: tuple[float, float] = (0.02, 0.3)
    """Range of the standard deviation in Å, drawn log-uniformly per structure."""


class ScanSettings(_Strict):
    """Thermal frames with one bond compressed or stretched."""

    weight: float = Field(default=0.15, ge=0.0)
    """Share of the structures, relative to the other tiers."""

    stretch: tuple[float, float] = (0.6, 2.0)
    """Range of the bond's length over its length at rest, drawn log-uniformly."""


class ClashSettings(_Strict):
    """Thermal frames with two atoms that are not bonded pulled together."""

    weight: float = Field(default=0.15, ge=0.0)
    """Share of the structures, relative to the other tiers."""

    contact: tuple[float, float] = (0.7, 2.0)
    """Range of their distance over the sum of covalent radii, drawn uniformly."""


class TierSettings(_Strict):
    """How structures are made, and in which shares."""

    langevin: LangevinSettings = LangevinSettings()
    """Hot dynamics."""

    noise: NoiseSettings = NoiseSettings()
    """Cartesian noise."""

    scan: ScanSettings = ScanSettings()
    """Bonds compressed and broken."""

    clash: ClashSettings = ClashSettings()
    """Contacts that should not be."""

    @model_validator(mode="after")
    def _sensible(self) -> TierSettings:
        weights = [self.langevin.weight, self.noise.weight, self.scan.weight, self.clash.weight]
        if sum(weights) <= 0.0:
            raise ValueError("the weights of all tiers are 0: give one of them a weight")
        for low, high in (self.noise.amplitude_A, self.scan.stretch, self.clash.contact):
            if not 0.0 < low <= high:
                raise ValueError(f"a range goes from a smaller to a larger number, not {low, high}")
        return self


class SamplingSettings(_Strict):
    """The ``[sampling]`` table."""

    force_field: str = "auto"
    """Name in the registry of teachers, or "auto"."""

    structures: int = Field(default=20_000, gt=0)
    """Structures in all; rounded up to whole chunks."""

    chunk_structures: int = Field(default=2_048, gt=0)
    """Structures of one work item."""

    max_energy_eV_per_atom: float = Field(default=3.0, gt=0.0)
    """Window: energy above the relaxed minimum, in eV per atom."""

    max_force_eV_per_A: float = Field(default=100.0, gt=0.0)
    """Window: largest force on any atom, in eV/Å."""

    min_distance_A: float = Field(default=0.5, ge=0.0)
    """Window: smallest distance of two atoms, in Å."""

    min_distance_HH_A: float = Field(default=0.4, ge=0.0)
    """Window: smallest distance of two hydrogens, in Å."""

    tiers: TierSettings = TierSettings()
    """How structures are made, and in which shares."""
