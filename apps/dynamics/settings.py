"""Settings of the dynamics: length, thermostat, and when a replica has failed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from apps.dynamics.criteria_registry import in_order
from apps.dynamics.metadynamics_settings import MetadynamicsSettings
from data_store.elements import SYMBOLS
from data_store.errors import InputError

__all__ = ["DynamicsSettings"]

_OF_CRITERIA: dict[str, frozenset[str]] = {
    "fused_within": frozenset({"fused"}),
    "fused_fs": frozenset({"fused"}),
    "bond_bounds_A": frozenset({"bond_out_of_bounds"}),
    "bond_bounds_fs": frozenset({"bond_out_of_bounds"}),
    "pair_bounds_A": frozenset({"pair_too_close"}),
    "valence_fs": frozenset({"valence"}),
    "energy_below_eV_per_atom": frozenset({"energy_runaway"}),
    "energy_above_eV_per_atom": frozenset({"energy_runaway"}),
    "drift_eV_per_atom": frozenset({"nve_drift"}),
    "dissociation_A": frozenset({"dissociated"}),
}
"""Keys younger than parts that are made, and the criteria that use them: where none of these is
declared, the key is in no identity."""

_ABSENT_AS_NONE = ("metadynamics", "velocity_stride_fs", "velocity_replicas")
"""Such keys that ask for something only where they are not None."""

Temperature = Annotated[float, Field(gt=0.0, le=10_000.0)]
Distance = Annotated[float, Field(gt=0.0)]
Bounds = tuple[Annotated[float, Field(ge=0.0)], Distance]


class DynamicsSettings(BaseModel):
    """The ``[dynamics]`` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperatures_K: tuple[Temperature, ...] = Field(default=(500.0, 1000.0), min_length=1)
    """Temperatures in K; each is an ensemble of its own."""

    replicas: int = Field(default=64, gt=0)
    """Replicas per model and temperature, each from its own start."""

    block_replicas: int = Field(default=32, gt=0)
    """Replicas of one work item, integrated in one batch."""

    ensemble: Literal["langevin", "nve"] = "langevin"
    """Langevin dynamics (BAOAB), or constant energy (velocity Verlet)."""

    length_ps: float = Field(default=10.0, gt=0.0)
    """Longest a replica is watched, in ps."""

    timestep_fs: float = Field(default=0.5, gt=0.0, le=5.0)
    """Time step in fs."""

    friction_per_ps: float = Field(default=2.0, gt=0.0)
    """Friction of the Langevin thermostat in 1/ps."""

    criteria: tuple[str, ...] = Field(
        default=("not_finite", "bond_stretch", "close_contact", "hot"), min_length=1
    )
    """What counts as failure: names in any order, kept in the one in which they are asked
    (`criterion_names`); the first that applies names the cause. Built in, or of an installed
    package (docs/criteria.md). `not_finite` must be among them."""

    check_stride_fs: float = Field(default=5.0, gt=0.0)
    """Time between checks in fs: the error of a failure time is at most this."""

    stretch_A: float = Field(default=0.5, gt=0.0)
    """bond_stretch: largest change of a bond's length from its mean over the labels, in Å."""

    contact_fraction: float = Field(default=0.5, gt=0.0)
    """close_contact: least distance of atoms not bonded, over the sum of covalent radii."""

    contact_HH_A: float = Field(default=0.4, gt=0.0)
    """close_contact: least distance of two hydrogens not bonded, in Å."""

    max_force_eV_per_A: float = Field(default=100.0, gt=0.0)
    """large_force: largest force on an atom, in eV/Å."""

    hot_tail: float = Field(default=1e-12, gt=0.0, lt=1.0)
    """hot: probability with which a sound replica would exceed the kinetic energy at one check."""

    fused_within: float = Field(default=1.3, gt=0.0)
    """fused: bonding distance over the sum of covalent radii: O–H 1.26 Å, O–O 1.72 Å."""

    fused_fs: float = Field(default=50.0, ge=0.0)
    """fused: time in fs for which a molecule must stay within it of another."""

    bond_bounds_A: dict[str, Bounds] = {"H-O": (0.7, 1.4)}
    """bond_out_of_bounds: shortest and longest sound bond in Å, by pair of elements; bonds of
    other pairs are not watched."""

    bond_bounds_fs: float = Field(default=50.0, ge=0.0)
    """bond_out_of_bounds: time in fs for which a bond must stay outside."""

    pair_bounds_A: dict[str, Distance] = {"O-O": 2.0}
    """pair_too_close: least distance in Å of two atoms, bonded or not, by pair of elements; other
    pairs are not watched. An O–O bond is shorter than the default: for those, give another."""

    valence_fs: float = Field(default=50.0, ge=0.0)
    """valence: time in fs for which an atom must have too many bonds."""

    energy_below_eV_per_atom: float = Field(default=0.2, ge=0.0)
    """energy_runaway: how far below the lowest label, in eV per atom."""

    energy_above_eV_per_atom: float = Field(default=1.0, ge=0.0)
    """energy_runaway: how far above the highest label, in eV per atom."""

    drift_eV_per_atom: float = Field(default=0.02, gt=0.0)
    """nve_drift: largest change of the total energy since the start, in eV per atom."""

    dissociation_A: float = Field(default=15.0, gt=0.0)
    """dissociated: least distance of a fragment from all others, in Å."""

    compact_every_steps: int = Field(default=100, gt=0)
    """Steps between moments at which failed replicas leave the batch."""

    keep_frames: int = Field(default=20, gt=0)
    """Frames kept from before each failure."""

    keep_stride_fs: float = Field(default=5.0, gt=0.0)
    """Time between those frames, in fs."""

    save_stride_ps: float = Field(default=0.1, gt=0.0)
    """Time between saved positions, in ps."""

    velocity_stride_fs: float | None = Field(default=None, gt=0.0)
    """Time between saved velocities, in fs: for the density of states, which wants a few fs. None:
    none are saved."""

    velocity_replicas: int | None = Field(default=None, gt=0)
    """Of so many replicas of each block, the first ones; None: of all."""

    checkpoint_every_s: float = Field(default=30.0, gt=0.0)
    """Seconds between checkpoints: a resource, no part of any identity."""

    metadynamics: MetadynamicsSettings | None = None
    """Well-tempered metadynamics, each block with a bias of its own; without the table there is no
    bias (docs/metadynamics.md)."""

    @model_serializer(mode="wrap")
    def _without_what_is_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Identities and parts older than a key stay what they were."""
        written: dict[str, Any] = handler(self)
        unused = [key for key, names in _OF_CRITERIA.items() if not names & set(self.criteria)]
        none = [key for key in _ABSENT_AS_NONE if getattr(self, key) is None]
        return {key: value for key, value in written.items() if key not in (*unused, *none)}

    @field_validator("criteria")
    @classmethod
    def _in_order(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("name each criterion once")
        if "not_finite" not in names:
            raise ValueError("must hold not_finite: no other sees a replica that is no number")
        try:
            return in_order(names)
        except InputError as error:  # pydantic gathers ValueErrors with all else that is wrong
            raise ValueError(f"{error.message}; {error.hint}") from error

    @field_validator("bond_bounds_A", "pair_bounds_A", mode="after")
    @classmethod
    def _pairs_of_elements(cls, table: dict[str, Any]) -> dict[str, Any]:
        """Under one name each, whichever way round it was written."""
        named: dict[str, Any] = {}
        for written, value in table.items():
            symbols = written.split("-")
            if len(symbols) != 2 or not all(symbol in SYMBOLS[1:] for symbol in symbols):
                raise ValueError(f'{written!r} is no pair of elements: write them as "H-O"')
            name = "-".join(sorted(symbols))
            if name in named:
                raise ValueError(f"names the pair {name} twice")
            if isinstance(value, tuple) and value[0] >= value[1]:
                raise ValueError(f"bounds of {name} are {value}: the shorter comes first")
            named[name] = value
        return dict(sorted(named.items()))

    @model_validator(mode="after")
    def _whole_steps(self) -> DynamicsSettings:
        biased, velocity_fs = self.metadynamics, self.velocity_stride_fs
        if velocity_fs is None and self.velocity_replicas is not None:
            raise ValueError("velocity_replicas wants a velocity_stride_fs: none are saved without")
        for name, time_fs in (
            ("length_ps", self.length_ps * 1000.0),
            ("check_stride_fs", self.check_stride_fs),
            ("keep_stride_fs", self.keep_stride_fs),
            ("save_stride_ps", self.save_stride_ps * 1000.0),
            *([("metadynamics.pace_fs", biased.pace_fs)] if biased else []),
            *([("velocity_stride_fs", velocity_fs)] if velocity_fs is not None else []),
        ):
            steps = time_fs / self.timestep_fs
            if round(steps) < 1 or abs(steps - round(steps)) > 1e-6 * steps:
                raise ValueError(
                    f"{name} must be a whole number of time steps of {self.timestep_fs} fs"
                )
        return self

    @model_validator(mode="after")
    def _drift_without_a_thermostat(self) -> DynamicsSettings:
        if "nve_drift" in self.criteria and self.ensemble != "nve":
            raise ValueError(
                'criterion nve_drift wants ensemble = "nve": a thermostat changes the total energy'
            )
        return self

    @model_validator(mode="after")
    def _biased_at_a_temperature(self) -> DynamicsSettings:
        if self.metadynamics is not None and self.ensemble != "langevin":
            raise ValueError(
                'metadynamics wants ensemble = "langevin": a bias that grows keeps no energy, and '
                "its heights need a temperature"
            )
        return self

    @property
    def reactive(self) -> bool:
        """Whether bonds may break and form: then no bond is known, and all pairs are contacts."""
        return "valence" in self.criteria

    def steps_of(self, time_fs: float) -> int:
        """Number of time steps in a time."""
        return round(time_fs / self.timestep_fs)
