"""`Run`: one replica's story, as the statistics need it.

A run says how long the replica was watched (its exposure) and how that ended. It holds no
trajectory: positions and last frames are columns of the same part. A run that its budget or
walltime ended is right-censored and stays in every denominator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from data_store.columns import Column
from data_store.errors import StoreError

if TYPE_CHECKING:
    from data_store.parts import Part

__all__ = ["OUTCOMES", "Outcome", "Run", "runs_from_part", "runs_to_columns"]

Outcome = Literal["survived", "failed", "censored"]
OUTCOMES: tuple[Outcome, ...] = ("survived", "failed", "censored")
_ATOMS_KEPT = 4


@dataclass(frozen=True)
class Run:
    """Outcome of one replica.

    Parameters
    ----------
    replica : int
        Index within its model and temperature.
    start : int
        Index of the starting structure among the campaign's starts; pairs replicas across arms.
    outcome : {"survived", "failed", "censored"}
        Reached the step budget; met a failure criterion; was ended by something else: the walltime,
        or a criterion that ends the watch without being a failure.
    time_ps : float
        Exposure: the time of the check that saw the failure, or the end of observation.
    cause : str
        Name of the criterion: of what failed, or of what was censored by one; else empty.
    atoms : tuple of int
        The atoms that decided (at most four), may be empty.
    value : float
        The quantity that decided, in the criterion's own unit; NaN where there is none.

    Raises
    ------
    StoreError
        If outcome, cause and time contradict each other.
    """

    replica: int
    start: int
    outcome: Outcome
    time_ps: float
    cause: str = ""
    atoms: tuple[int, ...] = ()
    value: float = float("nan")

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise StoreError(f"run outcome {self.outcome!r}", f"valid: {', '.join(OUTCOMES)}")
        contradiction = {"failed": not self.cause, "survived": bool(self.cause), "censored": False}
        if contradiction[self.outcome]:
            raise StoreError(f"run {self.replica}: outcome {self.outcome}, cause {self.cause!r}")
        if not np.isfinite(self.time_ps) or self.time_ps < 0:
            raise StoreError(f"run {self.replica}: exposure of {self.time_ps} ps")
        if len(self.atoms) > _ATOMS_KEPT:
            raise StoreError(f"run {self.replica}: {len(self.atoms)} deciding atoms, at most 4")

    @property
    def failed(self) -> bool:
        """Whether the replica met a failure criterion."""
        return self.outcome == "failed"


def runs_to_columns(runs: Sequence[Run]) -> tuple[dict[str, Column], dict[str, Any]]:
    """Columns (one row per run) and the metadata that decodes them."""
    causes = sorted({run.cause for run in runs if run.cause})
    atoms = np.full((len(runs), _ATOMS_KEPT), -1, dtype=np.int32)
    for row, run in enumerate(runs):
        atoms[row, : len(run.atoms)] = run.atoms
    columns = {
        "run_replica": Column(np.array([r.replica for r in runs], dtype=np.int32)),
        "run_start": Column(np.array([r.start for r in runs], dtype=np.int32)),
        "run_outcome": Column(np.array([OUTCOMES.index(r.outcome) for r in runs], dtype=np.uint8)),
        "run_time": Column(np.array([r.time_ps for r in runs], dtype=np.float64), "ps"),
        "run_cause": Column(
            np.array([causes.index(r.cause) if r.cause else -1 for r in runs], dtype=np.int16)
        ),
        "run_atoms": Column(atoms),
        "run_value": Column(np.array([r.value for r in runs], dtype=np.float64)),
    }
    return columns, {"run_causes": causes}


def runs_from_part(part: Part) -> list[Run]:
    """Runs that `runs_to_columns` stored in a part."""
    rows = {
        name: part.read(name, "ps" if name == "run_time" else "")
        for name in ("run_replica", "run_start", "run_outcome", "run_time", "run_cause")
    }
    atoms, values = part.read("run_atoms", ""), part.read("run_value", "")
    causes = cast("Mapping[str, Any]", part.metadata)["run_causes"]
    return [
        Run(
            replica=int(rows["run_replica"][i]),
            start=int(rows["run_start"][i]),
            outcome=OUTCOMES[int(rows["run_outcome"][i])],
            time_ps=float(rows["run_time"][i]),
            cause=causes[rows["run_cause"][i]] if rows["run_cause"][i] >= 0 else "",
            atoms=tuple(int(a) for a in atoms[i] if a >= 0),
            value=float(values[i]),
        )
        for i in range(len(values))
    ]
