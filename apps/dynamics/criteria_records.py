"""What each built-in failure criterion is, in words: readable where there is no torch.

A report shows these records as they stand. The functions that judge are beside them
(`apps.dynamics.criteria`, `apps.dynamics.criteria_published`), named here and loaded when first
asked for. Nothing here is computed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from data_store.errors import InputError

if TYPE_CHECKING:
    from apps.dynamics.criteria import Watched
    from apps.dynamics.findings import Finding
    from apps.dynamics.integrators import PhasePoint
    from apps.dynamics.settings import DynamicsSettings

    Judge = Callable[[PhasePoint, Watched, DynamicsSettings], Finding]

__all__ = ["BUILT_IN", "Criterion"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Criterion:
    """One failure criterion: a definition that never changes under its name.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and underscores: it becomes a cause, a key and a file name.
    definition : str
        One sentence: when a replica has failed.
    unit : str
        Of the value that decides; empty where there is none.
    reference : str
        ``doi:…`` or ``arXiv:…`` of the definition or of what it rests on; empty where there is no
        publication.
    threshold : str
        In words, with its unit; ``{name}`` stands for the key of that name in ``[dynamics]``. A
        threshold that a publication fixes is written out.
    function : str
        ``module:name`` of the pure function of (`PhasePoint`, `Watched`, `DynamicsSettings`) that
        returns a `Finding`, on the device of the replicas and without reading anything back.
    lasting_fs : float or str
        Time for which the condition must hold without a break, at every check, before the replica
        has failed; or the key of ``[dynamics]`` that holds it. 0: it has failed at once.
    largest_change : str
        Key of ``[dynamics]`` that holds by how much the value may differ from that at the first
        check; then the function's verdict is not asked for. Empty: the value judges itself.
    censors : bool
        Whether it ends a replica's watch without being a failure: then the run is right-censored.

    Raises
    ------
    InputError
        If the name or the definition cannot be used.
    """

    name: str
    definition: str
    unit: str
    reference: str
    threshold: str
    function: str
    lasting_fs: float | str = 0.0
    largest_change: str = ""
    censors: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"criterion {self.name!r}: a name is lower-case letters, digits and underscores"
            )
        if not self.definition:
            raise InputError(f"criterion {self.name!r} has no definition", "one sentence will do")

    def judge(self) -> Judge:
        """Load the function.

        Raises
        ------
        InputError
            If it cannot be loaded.
        """
        module, _, name = self.function.partition(":")
        try:
            return cast("Judge", getattr(import_module(module), name))
        except Exception as error:
            raise InputError(
                f"criterion {self.name!r}: cannot load {self.function!r}: {error!r}",
                "mend the package that brings it, or leave it out of dynamics.criteria",
            ) from error

    def threshold_under(self, settings: DynamicsSettings) -> str:
        """Threshold with the values of these settings.

        Raises
        ------
        InputError
            If the text names a key that is none.
        """
        try:
            return self.threshold.format(**{k: _in_words(v) for k, v in settings})
        except (LookupError, ValueError, AttributeError) as error:
            raise InputError(
                f"criterion {self.name!r}: threshold {self.threshold!r} names no key of "
                f"[dynamics]: {error!r}",
                "a brace that stands for itself is doubled",
            ) from error

    def lasting_under(self, settings: DynamicsSettings) -> float:
        """Time in fs for which its condition must hold, with the values of these settings.

        Raises
        ------
        InputError
            If the record names a key that is none, or a time that is none.
        """
        known = dict(settings)
        time_fs = (
            known.get(self.lasting_fs) if isinstance(self.lasting_fs, str) else self.lasting_fs
        )
        if not isinstance(time_fs, (int, float)) or not 0.0 <= time_fs < math.inf:
            raise InputError(
                f"criterion {self.name!r}: lasting_fs is {self.lasting_fs!r}, which is neither a "
                "time in fs nor a key of [dynamics] that holds one",
                "mend the package that brings it, or leave it out of dynamics.criteria",
            )
        return float(time_fs)


def _in_words(value: object) -> object:
    """A table by pair of elements as text; anything else as it is."""
    if not isinstance(value, dict):
        return value
    rows = (
        f"{pair} " + ("–".join(f"{x:g}" for x in v) if isinstance(v, tuple) else f"{v:g}")
        for pair, v in value.items()
    )
    return ", ".join(rows)


_OWN = "apps.dynamics.criteria:"
_BOXES = "apps.dynamics.criteria_boxes:"
_PUBLISHED = "apps.dynamics.criteria_published:"
_REACTIVE = "apps.dynamics.criteria_reactive:"

BUILT_IN: dict[str, Criterion] = {
    criterion.name: criterion
    for criterion in (
        Criterion(
            "not_finite",
            "A position, velocity, force or energy is no finite number.",
            "",
            "",
            "any",
            _OWN + "not_finite",
        ),
        Criterion(
            "bond_stretch",
            "The length of a bond differs from its mean over the labels by more than a threshold.",
            "Å",
            "arXiv:2210.07237",
            "> {stretch_A:g} Å",
            _OWN + "bond_stretch",
        ),
        Criterion(
            "close_contact",
            "Two atoms that are not bonded are closer than a fraction of the sum of their covalent "
            "radii; two hydrogens have a least distance of their own.",
            "Å",
            "doi:10.1039/b801115j",
            "< {contact_fraction:g} × sum of radii; H–H < {contact_HH_A:g} Å",
            _OWN + "close_contact",
        ),
        Criterion(
            "hot",
            "The kinetic energy exceeds what its χ² distribution at the temperature of the run "
            "explains.",
            "eV",
            "doi:10.1371/journal.pone.0202764",
            "probability at one check < {hot_tail:g}",
            _OWN + "hot",
        ),
        Criterion(
            "large_force",
            "The force on an atom exceeds a threshold.",
            "eV/Å",
            "",
            "> {max_force_eV_per_A:g} eV/Å",
            _OWN + "large_force",
        ),
        Criterion(
            "mdsim",
            "The length of a bond differs from its reference mean by more than 0.5 Å.",
            "Å",
            "arXiv:2210.07237",
            "> 0.5 Å",
            _PUBLISHED + "mdsim",
        ),
        Criterion(
            "stable",
            "The length of a bond differs from its reference mean by 0.5 Å or more.",
            "Å",
            "arXiv:2402.13984",
            "≥ 0.5 Å",
            _PUBLISHED + "stable",
        ),
        Criterion(
            "stable_training",
            "The length of a bond differs from its reference mean by 0.25 Å or more.",
            "Å",
            "arXiv:2402.13984",
            "≥ 0.25 Å",
            _PUBLISHED + "stable_training",
        ),
        Criterion(
            "mlipaudit",
            "The instantaneous temperature is more than 10 000 K above that of the run, or a "
            "hydrogen that was bonded to a heavy atom is further than 2.5 Å from every heavy atom.",
            "of the threshold",
            "arXiv:2511.20487",
            "> temperature of the run + 10 000 K; > 2.5 Å",
            _PUBLISHED + "mlipaudit",
        ),
        Criterion(
            "fused",
            "A molecule of a box has had an atom within bonding distance of another molecule's "
            "without a break, for longer than a collision lasts.",
            "of the bonding distance",
            "doi:10.1039/b801115j",
            "< {fused_within:g} × sum of covalent radii for {fused_fs:g} fs",
            _BOXES + "fused",
            "fused_fs",
        ),
        Criterion(
            "bond_out_of_bounds",
            "The length of one bond has been outside of the bounds of its pair of elements for a "
            "time without a break.",
            "Å",
            "",
            "outside of {bond_bounds_A} Å for {bond_bounds_fs:g} fs",
            _BOXES + "bond_out_of_bounds",
            "bond_bounds_fs",
        ),
        Criterion(
            "pair_too_close",
            "Two atoms, bonded or not, are closer than the bound of their pair of elements.",
            "Å",
            "",
            "< {pair_bounds_A} Å",
            _BOXES + "pair_too_close",
        ),
        Criterion(
            "valence",
            "A hydrogen has more than one bond or an oxygen more than two, for longer than any "
            "saddle lasts; bonded is what is closer than 0.927 (H–H), 1.212 (O–H), 1.830 Å (O–O).",
            "bonds",
            "",
            "H > 1, O > 2 bonds at each check for {valence_fs:g} fs",
            _REACTIVE + "valence",
            lasting_fs="valence_fs",
        ),
        Criterion(
            "energy_runaway",
            "The potential energy is below that of all labels, or above, by more than a margin; "
            "other compositions are compared by what they have above a line through all labels.",
            "eV/atom",
            "",
            "< lowest label − {energy_below_eV_per_atom:g} eV/atom; > highest label + "
            "{energy_above_eV_per_atom:g} eV/atom",
            _REACTIVE + "energy_runaway",
        ),
        Criterion(
            "nve_drift",
            "The total energy, which no thermostat changes, differs from that at the start.",
            "eV/atom",
            "",
            "change > {drift_eV_per_atom:g} eV/atom",
            _REACTIVE + "nve_drift",
            largest_change="drift_eV_per_atom",
        ),
        Criterion(
            "dissociated",
            "A fragment is further than a distance from all others, which ends the watch and is no "
            "failure.",
            "Å",
            "",
            "> {dissociation_A:g} Å; right-censored",
            _REACTIVE + "dissociated",
            censors=True,
        ),
    )
}
"""Built-in criteria, in the order in which they are asked: numbers that are none come first, since
they can be compared with nothing. A new one comes last."""
