"""Settings of well-tempered metadynamics: what is biased, by which hills, on which grid.

Plain descriptions: `apps.dynamics.collective` computes the variables, `apps.dynamics.metadynamics`
the bias.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_store.errors import InputError

__all__ = [
    "CoordinationTerm",
    "DistanceTerm",
    "MetadynamicsSettings",
    "Term",
    "Variable",
    "check_variables",
]

Atom = Annotated[int, Field(ge=0)]


class DistanceTerm(BaseModel):
    """Distance of two atoms, in Å."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["distance"]
    """Which term this is."""

    atoms: tuple[Atom, Atom]
    """The two atoms, counted from 0."""

    coefficient: float = 1.0
    """Factor in the variable; no unit."""

    @model_validator(mode="after")
    def _two(self) -> DistanceTerm:
        if self.atoms[0] == self.atoms[1]:
            raise ValueError(f"atoms must be two different ones, not {list(self.atoms)}")
        return self

    @property
    def all_atoms(self) -> tuple[int, ...]:
        """Atoms it looks at."""
        return self.atoms


class CoordinationTerm(BaseModel):
    """How many atoms of one group are near those of another: a smooth count, without unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["coordination"]
    """Which term this is."""

    group_a: tuple[Atom, ...] = Field(min_length=1)
    """Atoms of one group, counted from 0."""

    group_b: tuple[Atom, ...] = Field(min_length=1)
    """Atoms of the other; no atom is in both."""

    r0_A: float = Field(gt=0.0)
    """Distance in Å at which a pair counts n/m."""

    n: int = Field(default=6, gt=0, le=24)
    """Exponent of the numerator."""

    m: int = Field(default=12, gt=1, le=48)
    """Exponent of the denominator, larger than n."""

    coefficient: float = 1.0
    """Factor in the variable; no unit."""

    @model_validator(mode="after")
    def _apart(self) -> CoordinationTerm:
        both = self.group_a + self.group_b
        if len(set(both)) != len(both):
            raise ValueError("name each atom once in group_a and group_b together")
        if self.n >= self.m:
            raise ValueError(f"n = {self.n} must be less than m = {self.m}")
        return self

    @property
    def all_atoms(self) -> tuple[int, ...]:
        """Atoms it looks at."""
        return self.group_a + self.group_b


Term = Annotated[DistanceTerm | CoordinationTerm, Field(discriminator="kind")]


class Variable(BaseModel):
    """A collective variable, the sum of its terms, with the grid of the bias along it.

    Its unit is Å where the terms are distances, and none where they are coordination numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: tuple[Term, ...] = Field(min_length=1)
    """What is added up, each times its coefficient; all of one kind."""

    width: float = Field(gt=0.0)
    """Standard deviation of a hill, in the variable's unit."""

    grid_lower: float
    """Lower bound of the grid, in the variable's unit."""

    grid_upper: float
    """Upper bound of the grid, in the variable's unit."""

    grid_bins: int = Field(ge=2, le=10_000)
    """Intervals of the grid; none may be wider than half a hill's width."""

    wall: float = Field(default=0.0, ge=0.0)
    """Stiffness in eV per unit² of the harmonic walls outside of the bounds; 0 means none."""

    @model_validator(mode="after")
    def _sound(self) -> Variable:
        if len({term.kind for term in self.terms}) > 1:
            raise ValueError("terms must be of one kind: distances and counts have no common unit")
        if not self.grid_lower < self.grid_upper:
            raise ValueError(
                f"grid_lower = {self.grid_lower:g} must be below grid_upper = {self.grid_upper:g}"
            )
        if self.spacing > 0.5 * self.width * (1.0 + 1e-9):
            least = -int(-2.0 * (self.grid_upper - self.grid_lower) // self.width)
            raise ValueError(
                f"grid_bins = {self.grid_bins} makes intervals of {self.spacing:g}, more than half "
                f"of width = {self.width:g}: take {least} or more"
            )
        return self

    @property
    def spacing(self) -> float:
        """Distance of neighbouring nodes of the grid, in the variable's unit."""
        return (self.grid_upper - self.grid_lower) / self.grid_bins

    @property
    def unit(self) -> str:
        """Of its values: Å, or nothing for a count."""
        return "Å" if self.terms[0].kind == "distance" else ""


class MetadynamicsSettings(BaseModel):
    """The ``[dynamics.metadynamics]`` table: the replicas of a block share one growing bias."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variables: tuple[Variable, ...] = Field(min_length=1, max_length=2)
    """One or two collective variables."""

    height_eV: float = Field(gt=0.0)
    """Height of a hill where there is no bias yet, in eV."""

    pace_fs: float = Field(gt=0.0)
    """Time between hills of a replica, in fs; a whole number of time steps."""

    bias_factor: float = Field(gt=1.0)
    """γ = (T + ΔT)/T: the bias tends to all but 1/γ of the free energy, turned round; no unit."""


def check_variables(settings: MetadynamicsSettings | None, atoms: int) -> None:
    """Refuse variables of atoms that there are not.

    Raises
    ------
    InputError
        Naming the variable and the atom.
    """
    for place, variable in enumerate(settings.variables if settings else ()):
        largest = max(max(term.all_atoms) for term in variable.terms)
        if largest >= atoms:
            raise InputError(
                f"dynamics.metadynamics.variables[{place}] names atom {largest}, and there are "
                f"{atoms} atoms",
                f"valid: 0 to {atoms - 1}, in the order of the molecule (`campaign validate`)",
            )
