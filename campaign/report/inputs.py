"""`ReportInputs`: everything that a report is made from, gathered, nothing computed yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apps.dynamics.metadynamics_settings import MetadynamicsSettings
from campaign.coverage.measures import Coverage
from campaign.report.channel_set import ChannelSet
from campaign.statistics.distances import count_distances
from campaign.statistics.free_energy import Hills
from data_store.molecules import Molecule
from data_store.runs import Run

if TYPE_CHECKING:  # which needs `Model` from here
    from campaign.report.liquid_inputs import Liquid

__all__ = [
    "BiasedBlock",
    "Control",
    "Curve",
    "DistanceReference",
    "Distances",
    "FailurePicture",
    "Limits",
    "Model",
    "ReportInputs",
    "StageCost",
]


@dataclass(frozen=True, order=True)
class Model:
    """One trained model."""

    arm: str
    labels: int
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}, {self.labels} labels, seed {self.seed}"


@dataclass(frozen=True)
class StageCost:
    """What a stage cost, over all attempts."""

    core_hours: float
    items: int
    peak_rss_MB: float


@dataclass(frozen=True)
class Curve:
    """A training curve: rows of its log.

    Parameters
    ----------
    label, arm : str
    rows : list of dict
        With "step" and "validation_force_mae_eV_per_A".
    """

    label: str
    arm: str
    rows: list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class FailurePicture:
    """Last frames of one failed replica.

    Parameters
    ----------
    model : Model
    temperature_K : float
    run : Run
    frames : ndarray, shape (F, N, 3)
        In Å, the failing one last.
    frame_stride_fs : float
        Time between kept frames; the failing one may follow sooner.
    cell_A : ndarray, shape (3, 3), or None
        Of a box, whose atoms are in the images nearest to one that decided; None where there is
        none.
    """

    model: Model
    temperature_K: float
    run: Run
    frames: NDArray[np.float32]
    frame_stride_fs: float
    cell_A: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Distances:
    """Interatomic distances of some frames, counted by bin.

    Parameters
    ----------
    counts : ndarray of int64, shape (bins,)
        See `campaign.statistics.distances`.
    frames : int
    """

    counts: NDArray[np.int64]
    frames: int

    @staticmethod
    def of(frames: NDArray[np.floating]) -> Distances:
        """Distances of frames (S, N, 3), in Å."""
        return Distances(count_distances(frames), len(frames))

    @staticmethod
    def none() -> Distances:
        """Of no frame."""
        return Distances.of(np.zeros((0, 2, 3), dtype=np.float32))

    def __add__(self, other: Distances) -> Distances:
        return Distances(self.counts + other.counts, self.frames + other.frames)


@dataclass(frozen=True, eq=False)
class DistanceReference:
    """Distances of the structures that simulations are compared with.

    Parameters
    ----------
    source : str
        Which structures they are, in words.
    whole : Distances
    halves : tuple of ndarray
        Counts of two random halves: how well so few structures know the distribution.
    """

    source: str
    whole: Distances
    halves: tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Limits:
    """What the criteria of distances allow.

    Parameters
    ----------
    bonds_A : dict of (int, int) to (float, float)
        Least and largest length of each bond.
    contacts_A : dict of (int, int) to (float,)
        Least distance of each pair that is not bonded.
    """

    bonds_A: dict[tuple[int, ...], tuple[float, ...]] = field(default_factory=dict)
    contacts_A: dict[tuple[int, ...], tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Control:
    """What the reference method did.

    Parameters
    ----------
    method : str
    runs : dict of float to list of Run
        By temperature in K.
    distances : dict of float to Distances
        In saved frames of replicas that have not failed.
    probes : dict or None
        What the probes found, as for models.
    """

    method: str
    runs: dict[float, list[Run]]
    distances: dict[float, Distances]
    probes: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class BiasedBlock:
    """One block of walkers that shared a bias.

    Parameters
    ----------
    model : Model
    temperature_K : float
    block : int
    settings : MetadynamicsSettings
    hills : Hills
    left_out : int
        Hills that were outside of the grid.
    length_ps : float
    """

    model: Model
    temperature_K: float
    block: int
    settings: MetadynamicsSettings
    hills: Hills
    left_out: int
    length_ps: float


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """What a report is made from.

    Parameters
    ----------
    campaign : str
    settings : dict
        The campaign file, complete.
    molecule : Molecule
    runs : dict of (Model, float) to list of Run
        By model and temperature in K.
    errors : dict of Model to dict or None
        Errors on the test set.
    parity : dict of Model to dict of str to ndarray
        Label and prediction on the test set.
    details : dict of Model to dict
        Learning rate, refit and the like.
    curves : list of Curve
    pictures : list of FailurePicture
        Of the first failures of the most frequent kinds.
    limits : Limits
    distances : dict of (Model, float) to Distances
        In saved frames of replicas that have not failed, by model and temperature in K.
    reference : DistanceReference or None
    probes : dict of Model to dict
        What probes without dynamics found (`apps.probing.probes.probe`).
    control : Control or None
    biased : list of BiasedBlock
        Blocks of dynamics with a bias.
    liquid : Liquid or None
        Where boxes were simulated.
    channels : ChannelSet or None
        Reaction channels of the test set.
    species : list of dict
        Species over time, where bonds may break (`campaign.report.species`).
    cost : dict of str to StageCost
    predicted : list of dict
        Node-hours predicted and taken (`campaign.report.predicted`).
    expert_calls : int
        Ab initio labels that were computed or imported to train and validate on.
    teacher : dict
        Structures and rejections by tier.
    coverage : Coverage or None
        What teacher structures of each tier reach (`campaign.report.coverage`).
    world_size : int
        Ranks of pre-training.
    notes : list of str
        What was left out, retried, lost.
    """

    campaign: str
    settings: dict[str, Any]
    molecule: Molecule
    runs: dict[tuple[Model, float], list[Run]]
    errors: dict[Model, dict[str, float] | None]
    parity: dict[Model, dict[str, NDArray[Any]]] = field(default_factory=dict)
    details: dict[Model, dict[str, Any]] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    pictures: list[FailurePicture] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    distances: dict[tuple[Model, float], Distances] = field(default_factory=dict)
    reference: DistanceReference | None = None
    probes: dict[Model, dict[str, Any]] = field(default_factory=dict)
    control: Control | None = None
    biased: list[BiasedBlock] = field(default_factory=list)
    liquid: Liquid | None = None
    channels: ChannelSet | None = None
    species: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, StageCost] = field(default_factory=dict)
    predicted: list[dict[str, Any]] = field(default_factory=list)
    expert_calls: int = 0
    teacher: dict[str, Any] = field(default_factory=dict)
    coverage: Coverage | None = None
    world_size: int = 1
    notes: list[str] = field(default_factory=list)
