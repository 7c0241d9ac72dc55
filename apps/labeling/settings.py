"""Settings of the labels: computed by a labeler, or published ones from a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from apps.labeling.channels import CHANNEL_TABLES
from apps.labeling.names import OF_TBLITE, labeler_names
from data_store.errors import unknown_name

__all__ = ["LIMITS", "LabelSettings", "MethodSettings"]

LIMITS = ("limit_s", "limit_memory_MB")
"""Resources that a label may take; they change no number."""

Temperature = Annotated[float, Field(gt=0.0, le=10_000.0)]


class MethodSettings(BaseModel):
    """The method: what decides the numbers, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labeler: str = "pyscf"
    """Name in the registry of labelers; follows `source`, and need not be given."""

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

    nlc_grid_level: int = Field(default=0, ge=0, le=9)
    """Grid of a functional's non-local correlation (VV10). At 0 a label takes a sixtieth of the
    time that it takes at PySCF's own level, and energies move by some 1e-5 Hartree."""

    stability: bool = False
    """Whether to test that a solution of the SCF is a minimum, and to go down from one that is
    none; a label that is still unstable then is left out. Takes about as long as an SCF."""

    energy_tolerance_Hartree: float = Field(default=1e-9, gt=0.0)
    """Change of energy at which an SCF has converged."""

    max_cycles: int = Field(default=60, gt=0)
    """SCF cycles of the plain attempt; the fallbacks get more."""

    spin_contamination_max: float = Field(default=0.3, gt=0.0)
    """Largest deviation of ⟨S²⟩ from S(S+1) that a label may have."""

    def identity(self) -> dict[str, Any]:
        """What decides the numbers; younger settings only where they say something else."""
        found = self.model_dump(mode="json", include=set(MethodSettings.model_fields))
        for name in ("nlc_grid_level", "stability"):
            if found[name] == MethodSettings.model_fields[name].default:
                del found[name]
        return found


class LabelSettings(MethodSettings):
    """The ``[labels]`` table."""

    source: str = "pyscf"
    """What labels come from: the name of a labeler that computes them (pyscf, tblite, or one that a
    package brings, docs/extending.md), or "file"."""

    method: str | None = None
    """Method of tblite: GFN2-xTB (where none is given) or GFN1-xTB."""

    file: str | None = None
    """Extended xyz with labels (eV, eV/Å) to train and validate on, for source "file"."""

    test_file: str | None = None
    """Extended xyz with labels to test on and to start dynamics from."""

    in_time_order: bool = False
    """Whether the frames of file and test_file follow each other in time, though they do not say
    so: they are then split by blocks of time. Otherwise a frame that says nothing of its trajectory
    counts as one of its own."""

    alike_within_A: float | None = Field(default=None, gt=0.0)
    """Frames closer than this (mass-weighted root mean square displacement, Å), or so in a chain,
    go to one side of every split: for files that are a trajectory shuffled."""

    channels: str | None = None
    """Table of reaction channels that the frames of file name by ``rxn=…``
    (`apps.labeling.channels`): from it come spins and what is related; frames along paths, and
    channels held out, are the test set."""

    surfaces: dict[str, int] = Field(default_factory=dict)
    """Multiplicity to train on, by formula in Hill order, where a composition of channels lies on
    several spin surfaces."""

    held_out_channels: tuple[str, ...] = ()
    """Channels that no pool holds, to test on."""

    limit_s: float | None = Field(default=None, gt=0.0)
    """Wall time that a label may take; a longer one is stopped and tried again with twice as
    much."""

    limit_memory_MB: float | None = Field(default=None, gt=0.0)
    """Resident memory that the process of a label may take, libraries (some 200 MB) included."""

    same_method: tuple[str, ...] = ()
    """Names in the frames of file and test_file (``method=…``) that are of one method; labels by
    two methods are refused otherwise."""

    count: int = Field(default=60, gt=0)
    """Labels to compute."""

    test_count: int = Field(default=10, ge=0)
    """Labels kept aside to test on where there is no test_file."""

    candidates: int = Field(default=256, gt=0)
    """Thermal structures that labels and starts are drawn from."""

    select: str = "random"
    """How labels are chosen among the candidates: a name in the registry of strategies
    (`apps.selection.registry`). Some ask pre-trained models, and wait for them."""

    temperatures_K: tuple[Temperature, ...] = Field(default=(500.0,), min_length=1)
    """Temperatures of the candidates in K."""

    def relation(self) -> dict[str, Any]:
        """What is said of how frames of a file are related, by name; empty where nothing is."""
        order = {"in_time_order": True} if self.in_time_order else {}
        return order | (
            {} if self.alike_within_A is None else {"alike_within_A": self.alike_within_A}
        )

    def choice(self) -> dict[str, Any]:
        """What is said of channels, by name; empty where nothing is."""
        if self.channels is None:
            return {}
        return {
            "channels": self.channels,
            "surfaces": dict(sorted(self.surfaces.items())),
            "held_out_channels": sorted(self.held_out_channels),
        }

    @property
    def computed(self) -> bool:
        """Whether a labeler computes them."""
        return self.source != "file"

    @model_validator(mode="before")
    @classmethod
    def _labeler_follows(cls, given: Any) -> Any:
        """Let `labeler` be what `source` and `method` name."""
        source = given.get("source") if isinstance(given, dict) else None
        if not isinstance(source, str) or source in ("file", "pyscf"):
            return given
        named = source
        if source == "tblite":
            named = _known("method of tblite", given.get("method") or "GFN2-xTB", OF_TBLITE)
        else:
            _known("source of labels", source, {"file": "", "tblite": ""} | _by_name())
        if given.get("labeler", named) != named:
            raise ValueError(
                f'labeler = "{given["labeler"]}" contradicts source = "{source}": leave it out'
            )
        return given | {"labeler": named}

    @model_validator(mode="after")
    def _method_fits(self) -> LabelSettings:
        if self.method is not None and self.source != "tblite":
            raise ValueError(f'method = "{self.method}" belongs to source = "tblite"')
        return self

    @model_validator(mode="after")
    def _source_fits(self) -> LabelSettings:
        if self.source == "file" and self.file is None:
            raise ValueError('source = "file" needs file = "….extxyz"')
        if self.computed and (self.file or self.test_file):
            raise ValueError('file and test_file belong to source = "file"')
        if self.computed and (self.in_time_order or self.alike_within_A is not None):
            raise ValueError('in_time_order and alike_within_A belong to source = "file"')
        self._check_channels()
        if self.in_time_order and self.alike_within_A is not None:
            raise ValueError(
                "give either in_time_order or alike_within_A: both say what belongs together"
            )
        if self.source == "file" and self.select != "random":
            raise ValueError(
                f'select = "{self.select}" belongs to source = "pyscf" or another '
                "labeler; of a file, all is used"
            )
        return self

    def _check_channels(self) -> None:
        if self.channels is None:
            if self.surfaces or self.held_out_channels:
                raise ValueError(
                    'surfaces and held_out_channels want channels = "…": '
                    + ", ".join(CHANNEL_TABLES)
                )
            return
        _known("table of channels", self.channels, {name: name for name in CHANNEL_TABLES})
        if self.computed:
            raise ValueError('channels belong to source = "file"')
        if self.test_file or self.in_time_order or self.alike_within_A is not None:
            raise ValueError(
                "channels say what tests and which frames are related: leave out test_file, "
                "in_time_order and alike_within_A"
            )


def _known(kind: str, name: str, valid: dict[str, str]) -> str:
    if name not in valid:
        error = unknown_name(kind, name, list(valid))
        raise ValueError(f"{error.message}; {error.hint}")
    return valid[name]


def _by_name() -> dict[str, str]:
    return {name: name for name in labeler_names()}
