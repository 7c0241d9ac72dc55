"""Labels by PySCF: restricted or unrestricted Kohn–Sham, with a chain of fallbacks.

The chain: plain SCF; level shift and damping, then unshifted from that density; Fermi smearing,
then a second-order solver from that density. Which attempt gave a label is recorded. Spin comes
with the structure, never from the formula.

Where `stability` is asked for, a solution that is no minimum among those of its kind (restricted or
unrestricted: internal instability, Seeger and Pople 1977, doi:10.1063/1.434318) is followed down,
and so recorded. That a closed shell would rather be open is not looked for: labels stay on one
surface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import dft, gto, scf

from apps.labeling.labeler import Label
from apps.labeling.pyscf_names import knows_basis, nearest_bases, nearest_functionals
from apps.labeling.settings import MethodSettings
from data_store.elements import SYMBOLS
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.units import BOHR_A, HARTREE_eV

__all__ = ["PySCFLabeler"]

_FOLLOWED_AT_MOST = 3
"""Times that a label goes down from a saddle of the SCF."""


class PySCFLabeler:
    """Kohn–Sham energies and forces.

    Parameters
    ----------
    settings : MethodSettings

    Raises
    ------
    InputError
        If PySCF knows no such functional.
    """

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings
        try:
            dft.libxc.parse_xc(settings.functional)
        except Exception as error:
            raise InputError(
                f"labels.functional = {settings.functional!r}: PySCF knows no such functional "
                f"({error})",
                _nearest(nearest_functionals(settings.functional), "PBE, PBE0, B3LYP, wB97X-V"),
            ) from error

    def label(
        self,
        numbers: NDArray[Any],
        positions: NDArray[np.float64],
        charge: int,
        multiplicity: int,
    ) -> Label:
        """Label one structure.

        Raises
        ------
        InputError
            If the basis lacks an element, or charge and multiplicity do not fit it.
        """
        molecule = self._molecule(numbers, positions, charge, multiplicity)
        step, mean_field = "", None
        for step, attempt in self._attempts(molecule):
            mean_field = attempt()
            if not mean_field.converged:
                continue
            if not self.settings.stability:
                return self._finished(mean_field, step, multiplicity)
            lower, followed, stable = self._followed(mean_field)
            if lower.converged:
                step += ", followed" if followed else ""
                return self._finished(lower, step, multiplicity, stable=stable)
        return Label("not_converged", np.nan, np.full(positions.shape, np.nan), step, np.nan)

    def check(self, molecule: Molecule) -> None:
        """Refuse a molecule or a dispersion correction that does not fit.

        Raises
        ------
        InputError
            If elements, charge or multiplicity do not fit, or dispersion does not fit functional.
        """
        checked = self._molecule(
            np.array(molecule.numbers), molecule.reference_positions, molecule.charge,
            molecule.multiplicity,
        )  # fmt: skip
        if self.settings.dispersion is not None:
            self._check_dispersion(checked)

    def _check_dispersion(self, molecule: Any) -> None:
        settings, mean_field = self.settings, self._mean_field(molecule)
        named = f"labels.dispersion = {settings.dispersion!r}"
        if mean_field.do_nlc():
            raise InputError(
                f"{named}: {settings.functional} has dispersion of its own (VV10), which would "
                "count twice",
                "leave out labels.dispersion, or take a functional without VV10",
            )
        try:
            mean_field.get_dispersion()
        except RuntimeError as error:
            raise InputError(
                f"{named}: no parameters for labels.functional = {settings.functional!r} ({error})",
                "leave out labels.dispersion, or take PBE, PBE0, B3LYP, …",
            ) from error

    def _molecule(
        self, numbers: NDArray[Any], positions: NDArray[np.float64], charge: int, multiplicity: int
    ) -> Any:
        atoms = [(SYMBOLS[int(z)], tuple(x)) for z, x in zip(numbers, positions, strict=True)]
        try:
            return gto.M(
                atom=atoms, basis=self.settings.basis, charge=charge, spin=multiplicity - 1,
                unit="Angstrom", verbose=0,
            )  # fmt: skip
        except Exception as error:
            self._check_basis(sorted({SYMBOLS[int(z)] for z in numbers}))
            raise InputError(
                f"PySCF refuses charge {charge}, multiplicity {multiplicity} and "
                f"labels.basis = {self.settings.basis!r} for this molecule: {error}",
                "check system.charge, system.multiplicity and labels.basis (def2-SVP, def2-TZVP, "
                "cc-pVTZ, …)",
            ) from error

    def _check_basis(self, symbols: list[str]) -> None:
        basis = self.settings.basis
        lacking = [symbol for symbol in symbols if not knows_basis(basis, symbol)]
        if not lacking:
            return
        if any(knows_basis(basis, symbol) for symbol in ("H", "C", "O")):
            raise InputError(
                f"labels.basis = {basis!r} has no functions for {', '.join(lacking)}",
                "def2-SVP and def2-TZVP reach to radon",
            )
        raise InputError(
            f"labels.basis = {basis!r}: PySCF knows no such basis set",
            _nearest(nearest_bases(basis), "def2-SVP, def2-TZVP, cc-pVTZ"),
        )

    def _mean_field(self, molecule: Any) -> Any:
        settings = self.settings
        mean_field = (dft.RKS if molecule.spin == 0 else dft.UKS)(molecule)
        mean_field.xc = settings.functional
        if settings.density_fit:
            mean_field = mean_field.density_fit()
        if settings.dispersion is not None:
            mean_field.disp = settings.dispersion
        mean_field.grids.level = settings.grid_level
        mean_field.nlcgrids.level = settings.nlc_grid_level
        mean_field.conv_tol = settings.energy_tolerance_Hartree
        mean_field.max_cycle = settings.max_cycles
        return mean_field

    def _attempts(self, molecule: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
        yield "plain", lambda: _run(self._mean_field(molecule))
        yield "shifted", lambda: self._shifted(molecule)
        yield "smeared", lambda: self._smeared(molecule)

    def _shifted(self, molecule: Any) -> Any:
        """Level shift and damping, then plain from that density."""
        guided = self._mean_field(molecule)
        guided.level_shift, guided.damp, guided.diis_start_cycle = 0.3, 0.3, 3
        guided.max_cycle = 150
        density = _run(guided).make_rdm1()
        return _run(self._mean_field(molecule), density)

    def _smeared(self, molecule: Any) -> Any:
        """Fermi smearing, then a second-order solver from that density."""
        smeared = scf.addons.smearing_(self._mean_field(molecule), sigma=0.02, method="fermi")
        smeared.max_cycle = 150
        density = _run(smeared).make_rdm1()
        solver = self._mean_field(molecule).newton()
        solver.max_cycle = 100
        return _run(solver, density)

    def _followed(self, mean_field: Any) -> tuple[Any, bool, bool]:
        """A solution beside this one that is no saddle; whether it is another, and is stable."""
        orbitals, _, stable, _ = mean_field.stability(return_status=True)
        followed = False
        for _ in range(_FOLLOWED_AT_MOST):
            if stable:
                break
            density = mean_field.make_rdm1(orbitals, mean_field.mo_occ)
            solver = self._mean_field(mean_field.mol).newton()
            solver.max_cycle = 100
            mean_field, followed = _run(solver, density), True
            orbitals, _, stable, _ = mean_field.stability(return_status=True)
        return mean_field, followed, bool(stable)

    def _finished(
        self, mean_field: Any, step: str, multiplicity: int, *, stable: bool = True
    ) -> Label:
        gradient = mean_field.nuc_grad_method()
        gradient.grid_response = False
        forces = -np.asarray(gradient.kernel()) * HARTREE_eV / BOHR_A
        energy = float(mean_field.e_tot) * HARTREE_eV
        found = float(mean_field.spin_square()[0]) if multiplicity > 1 else 0.0
        spin = 0.5 * (multiplicity - 1)
        contaminated = abs(found - spin * (spin + 1.0)) > self.settings.spin_contamination_max
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            return Label("not_finite", energy, forces, step, found)
        outcome: Any = "spin_contaminated" if contaminated else "converged"
        outcome = outcome if stable else "unstable"
        return Label(outcome, energy, forces, step, found)


def _nearest(found: list[str], examples: str) -> str:
    return f"nearest: {', '.join(found)}" if found else f"examples: {examples}"


def _run(mean_field: Any, density: Any = None) -> Any:
    mean_field.kernel(dm0=density)
    return mean_field
