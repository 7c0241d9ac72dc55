"""Settings of the molecule and of the cheap teacher's structures."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "FROM_FILES",
    "WANTS_A_FILE",
    "AngleSettings",
    "ClashSettings",
    "FragmentSettings",
    "LangevinSettings",
    "MoleculeSettings",
    "NoiseSettings",
    "NormalModeSettings",
    "PairSettings",
    "SamplingSettings",
    "ScanSettings",
    "SpeciesSettings",
    "TierSettings",
]

Temperature = Annotated[float, Field(gt=0.0, le=10_000.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Source(_Strict):
    """One molecule: what it is made from."""

    name: str = "molecule"
    """What it is called in reports; no part of any identity."""

    smiles: str | None = None
    """SMILES; hydrogens are added."""

    xyz: str | None = None
    """File with one geometry (Å) instead; bonds are perceived from it."""

    mol: str | None = None
    """File in MDL's format (mol, or sdf with one molecule) instead; hydrogens that lack are added,
    and a geometry is built where it has none in three dimensions."""

    charge: int | None = None
    """Total charge in e; by default that of the SMILES or of the mol file, or 0 for a geometry."""

    multiplicity: int | None = Field(default=None, ge=1)
    """Spin multiplicity 2S + 1; by default 1, or 2 for an odd number of electrons."""

    @property
    def written(self) -> str:
        """How it is written: its SMILES, or the name of its file."""
        return self.smiles or PurePath(self.xyz or self.mol or "").name

    @property
    def sources(self) -> int:
        """How many of the three are given."""
        return sum(source is not None for source in (self.smiles, self.xyz, self.mol))


FROM_FILES = ("openmm-xml", "amber-prmtop")
"""Force fields that are a file of the user's."""


WANTS_A_FILE = (
    f"the force fields {' and '.join(FROM_FILES)} are files of yours, which force_field_file "
    "names; no other has one"
)
"""What is said where one of the two is without the other."""


_ONE_SOURCE = "give either smiles or xyz or mol, one of the three"


class SpeciesSettings(_Source):
    """An entry of ``system.species``: one of the molecules of a mixture."""

    count: int = Field(default=1, ge=1)
    """Molecules of it in a box."""

    share: float = Field(default=1.0, gt=0.0)
    """Its share of the teacher's structures, relative to the other species."""

    force_field: str | None = None
    """Its teacher, where that is not the one of ``[sampling]``."""

    force_field_file: str | None = None
    """The file of its teacher, where that is one of yours."""

    @model_validator(mode="after")
    def _one_source(self) -> SpeciesSettings:
        if self.sources != 1:
            raise ValueError(_ONE_SOURCE)
        if (self.force_field in FROM_FILES) != (self.force_field_file is not None):
            raise ValueError(WANTS_A_FILE)
        return self


Edge = Annotated[float, Field(gt=0.0)]


class MoleculeSettings(_Source):
    """The ``[system]`` table: one molecule, a liquid of it, or a mixture of species."""

    kind: Literal["molecule", "liquid", "mixture"] = "molecule"
    """What is simulated: one molecule alone, a periodic box of one species, or of several."""

    count: int = Field(default=1, ge=1)
    """Molecules in a box, for kind "liquid"."""

    species: tuple[SpeciesSettings, ...] = ()
    """The molecules of a mixture, each with its count: ``{ smiles = "O", count = 64 }``."""

    density_g_per_cm3: float | None = Field(default=None, gt=0.0, le=25.0)
    """Density of the (cubic) boxes that are built, in g/cm³."""

    box_A: Edge | tuple[Edge, Edge, Edge] | None = None
    """Edges of the boxes that are built instead, in Å: one number, or three."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> MoleculeSettings:
        if self.density_g_per_cm3 is not None and self.box_A is not None:
            raise ValueError("give either density_g_per_cm3 or box_A, one of the two")
        if self.kind == "mixture":
            if not self.species:
                raise ValueError(
                    'kind = "mixture" needs species = [{ smiles = "…", count = … }, …]'
                )
            if self.sources or self.charge is not None or self.multiplicity is not None:
                raise ValueError(
                    'smiles, xyz, mol, charge and multiplicity of kind = "mixture" stand in species'
                )
            written = [(s.smiles, s.xyz, s.mol, s.charge, s.multiplicity) for s in self.species]
            if len(set(written)) < len(written):
                raise ValueError("a species is there twice: give it once, with its count in all")
            return self
        if self.species:
            raise ValueError('species belongs to kind = "mixture"')
        if self.sources != 1:
            raise ValueError(_ONE_SOURCE)
        if self.kind == "molecule" and (self.has_box or self.count != 1):
            raise ValueError('count, density_g_per_cm3 and box_A belong to a "liquid" or "mixture"')
        return self

    @property
    def has_box(self) -> bool:
        """Whether it says how large boxes are."""
        return self.density_g_per_cm3 is not None or self.box_A is not None

    def molecules(self) -> tuple[SpeciesSettings, ...]:
        """Its distinct molecules with their counts: one, but of a mixture."""
        if self.kind == "mixture":
            return self.species
        return (
            SpeciesSettings(
                **{key: getattr(self, key) for key in _Source.model_fields}, count=self.count
            ),
        )


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


class NormalModeSettings(_Strict):
    """The relaxed molecule displaced along its vibrations."""

    weight: float = Field(default=0.0, ge=0.0)
    """Share of the structures, relative to the other tiers."""

    temperatures_K: tuple[Temperature, Temperature] = (300.0, 5000.0)
    """Range of the temperature in K, drawn uniformly: the mean energy of a mode is k_B T / 2."""

    softest_per_cm: float = Field(default=100.0, gt=0.0)
    """Modes of smaller wavenumber (1/cm) are displaced as if they had this one: far along a soft
    mode a straight line stretches bonds."""


class AngleSettings(_Strict):
    """Thermal frames with one angle opened or closed."""

    weight: float = Field(default=0.0, ge=0.0)
    """Share of the structures, relative to the other tiers."""

    bend_degrees: tuple[float, float] = (-50.0, 50.0)
    """Range of the change of the angle in degrees, drawn uniformly."""


class FragmentSettings(_Strict):
    """Thermal frames pulled apart at one bond."""

    weight: float = Field(default=0.0, ge=0.0)
    """Share of the structures, relative to the other tiers."""

    beyond_A: tuple[float, float] = (0.3, 4.0)
    """Range of the bond's length beyond its length at rest, in Å, drawn log-uniformly."""


class PairSettings(_Strict):
    """Two thermal frames in contact."""

    weight: float = Field(default=0.0, ge=0.0)
    """Share of the structures, relative to the other tiers."""

    contact: tuple[float, float] = (1.0, 3.0)
    """Range of the closest distance between them over the sum of covalent radii, drawn
    uniformly."""


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

    normal_mode: NormalModeSettings = NormalModeSettings()
    """Vibrations."""

    angle: AngleSettings = AngleSettings()
    """Angles bent."""

    fragment: FragmentSettings = FragmentSettings()
    """Pieces flying apart."""

    pair: PairSettings = PairSettings()
    """Two molecules together."""

    @model_validator(mode="after")
    def _sensible(self) -> TierSettings:
        if sum(getattr(self, name).weight for name in type(self).model_fields) <= 0.0:
            raise ValueError("the weights of all tiers are 0: give one of them a weight")
        positive = (
            self.noise.amplitude_A, self.scan.stretch, self.clash.contact,
            self.normal_mode.temperatures_K, self.fragment.beyond_A, self.pair.contact,
        )  # fmt: skip
        if any(low <= 0.0 for low, _ in positive):
            raise ValueError(f"a range of this kind is of positive numbers: {positive}")
        for low, high in (*positive, self.angle.bend_degrees):
            if low > high:
                raise ValueError(f"a range goes from a smaller to a larger number, not {low, high}")
        return self


class SamplingSettings(_Strict):
    """The ``[sampling]`` table."""

    force_field: str = "auto"
    """Name in the registry of teachers (`campaign teachers` lists them; docs/teachers.md), or
    "auto": q-SPC/Fw for water, MMFF94 where it types every atom, else GFN-FF, else UFF."""

    force_field_file: str | None = None
    """The force field itself, where it is a file of yours: OpenMM's XML of a System or of templates
    (force_field = "openmm-xml"), or Amber's prmtop ("amber-prmtop")."""

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
