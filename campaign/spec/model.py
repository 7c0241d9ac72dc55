"""`CampaignSpec`: what a campaign file says, table by table.

Each table is the settings model of the app that it speaks to, so that a key is documented once,
where it is used. What crosses tables is checked here: pools against labels, starts against
candidates. Paths are relative to the campaign file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from apps.dynamics.control import ControlSettings
from apps.dynamics.settings import DynamicsSettings
from apps.labeling.settings import LabelSettings
from apps.potential.settings import PotentialSettings
from apps.sampling.settings import (
    FROM_FILES,
    WANTS_A_FILE,
    MoleculeSettings,
    SamplingSettings,
)
from apps.selection.registry import MODEL_STRATEGIES, strategy_names
from apps.selection.settings import ActiveLearningSettings
from apps.training.settings import FinetuningSettings, PretrainingSettings
from campaign.plan.stages import STAGES
from campaign.plan.system import chunks_by_molecule, pair_chunks
from campaign.spec.active_checks import active_checks
from campaign.spec.problems import Problem, problems_of, read_toml, refuse
from data_store.errors import InputError, unknown_name
from data_store.splits import validation_boxes, validation_count

__all__ = ["CampaignHeader", "CampaignSpec", "ComparisonSettings", "parse_spec", "read_spec"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_QUORUM = 0.9
"""Quorum of a stage for which the campaign file names none."""


def _checked_quorum(value: Any) -> Any:
    """Refuse what is neither a share nor a table of shares by stage, in one message."""
    shares = list(value.values()) if isinstance(value, dict) else [value]
    numbers = [s for s in shares if isinstance(s, int | float) and not isinstance(s, bool)]
    if len(numbers) < len(shares) or not all(0.0 < share <= 1.0 for share in numbers):
        raise ValueError(
            "a share above 0 and up to 1, or a table of such by stage: { simulate = 0.8 }"
        )
    unknown = [name for name in value if name not in STAGES] if isinstance(value, dict) else []
    if unknown:
        error = unknown_name("stage", unknown[0], list(STAGES))
        raise ValueError(f"{error.message}; {error.hint}")
    return value


class CampaignHeader(_Strict):
    """The ``[campaign]`` table."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the campaign; its workspace belongs to it for good."""

    seed: int = Field(default=0, ge=0)
    """Seed from which every stream of random numbers is derived."""

    quorum: Annotated[float | dict[str, float], BeforeValidator(_checked_quorum)] = _QUORUM
    """Share of a stage's items that must succeed for the campaign to count as done: one number for
    all stages, or a table by stage (``{ simulate = 0.8 }``), where the others keep the default."""

    def quorum_of(self, stage: str) -> float:
        """Share of the items of one stage that must succeed."""
        return self.quorum.get(stage, _QUORUM) if isinstance(self.quorum, dict) else self.quorum


class ComparisonSettings(_Strict):
    """The ``[comparison]`` table: what the campaign is meant to tell, stated before it runs.

    Changes nothing that is computed: from it `campaign validate` and `campaign plan` say how many
    replicas are needed.
    """

    rate_ratio: float = Field(default=5.0, gt=1.0)
    """Ratio of failure rates, the other arm over `pretrained`, that is to be told from 1."""

    failed_fraction: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Guessed share of replicas of the other arm that fail."""

    correlation: float = Field(default=0.1, ge=0.0, le=1.0)
    """Guessed correlation of how two replicas of one model end, beyond what their arm explains."""


class CampaignSpec(_Strict):
    """A campaign file; every key has a default but the system and the labels."""

    campaign: CampaignHeader
    system: MoleculeSettings
    sampling: SamplingSettings = SamplingSettings()
    labels: LabelSettings
    potential: PotentialSettings = PotentialSettings()
    pretraining: PretrainingSettings = PretrainingSettings()
    finetuning: FinetuningSettings = FinetuningSettings()
    dynamics: DynamicsSettings = DynamicsSettings()
    control: ControlSettings = ControlSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    active_learning: ActiveLearningSettings | None = None

    @property
    def several(self) -> bool:
        """Whether it is of a liquid or a mixture."""
        return self.system.kind != "molecule"

    @property
    def labelled(self) -> bool:
        """Whether it goes on to labels, fine-tuning and dynamics.

        Labels of liquids and mixtures are imported: one that has none ends with pre-training.
        """
        return not self.several or not self.labels.computed

    @property
    def validation(self) -> Callable[[int], int]:
        """How many of a pool of labels validate."""
        return validation_boxes if self.system.kind == "liquid" else validation_count


def _teacher_checks(spec: CampaignSpec) -> Iterator[Problem]:
    """Yield what is wrong with the number of the teacher's structures, where there is a teacher."""
    if "pretrained" not in spec.finetuning.arms:
        return
    structures, chunk = spec.sampling.structures, spec.sampling.chunk_structures
    shares = [molecule.share for molecule in spec.system.molecules()]
    pairs = sum(count for _, _, count in pair_chunks(spec.system, spec.sampling))
    made = chunk * (sum(chunks_by_molecule(spec.system, spec.sampling)) + pairs)
    least = int(structures * min(shares) / sum(shares))
    if least < chunk:
        of_each = "" if len(shares) == 1 else f" for each molecule (the smallest share is {least})"
        yield Problem(
            "sampling.structures",
            str(structures),
            f"less than one chunk{of_each}, and chunks are whole: {made} would be made; lower "
            f"sampling.chunk_structures ({chunk}) to a divisor of {least}",
        )
        made = structures
    held_out = spec.pretraining.held_out
    if 2 * held_out > made:
        yield Problem(
            "pretraining.held_out",
            str(held_out),
            f"at most half of the teacher's {made} structures, {made // 2}: lower it, or raise "
            "sampling.structures",
        )


_OF_BONDS = ("bond_stretch", "mdsim", "stable", "stable_training", "mlipaudit")


def _reactive_checks(spec: CampaignSpec) -> Iterator[Problem]:
    """Yield what is wrong with criteria where bonds may break."""
    criteria = spec.dynamics.criteria
    if spec.dynamics.reactive and (of_bonds := [name for name in _OF_BONDS if name in criteria]):
        yield Problem(
            "dynamics.criteria",
            str(list(criteria)),
            f"with valence bonds may break, and {', '.join(of_bonds)} would find none: leave out "
            "one or the other",
        )
    if "dissociated" in criteria and spec.system.has_box:
        yield Problem(
            "dynamics.criteria",
            str(list(criteria)),
            "nothing is far from all else in a periodic box: leave out dissociated",
        )


def _selection_checks(spec: CampaignSpec) -> Iterator[Problem]:
    """Yield what is wrong with the strategy of selection, or with the models that it asks."""
    name = spec.labels.select
    if name not in strategy_names():
        error = unknown_name("strategy of selection", name, strategy_names())
        yield Problem("labels.select", repr(name), error.hint)
    if name not in MODEL_STRATEGIES:
        return
    seeds = len(spec.pretraining.seeds)
    starts = len({seed % seeds for seed in spec.finetuning.seeds})
    models = starts if "pretrained" in spec.finetuning.arms else 0
    if models < (least := MODEL_STRATEGIES[name].models):
        yield Problem(
            "labels.select",
            repr(name),
            f"asks at least {least} pre-trained models, and the campaign starts from {models}: "
            'have "pretrained" in finetuning.arms, and as many seeds in pretraining.seeds and '
            "finetuning.seeds",
        )


def _cross_checks(spec: CampaignSpec) -> Iterator[Problem]:
    """Yield what is wrong between tables that are each right."""
    yield from _teacher_checks(spec)
    yield from active_checks(spec)
    sampling = spec.sampling
    if (sampling.force_field in FROM_FILES) != (sampling.force_field_file is not None):
        yield Problem("sampling.force_field_file", repr(sampling.force_field_file), WANTS_A_FILE)
    labels, pools = spec.labels, spec.finetuning.pools
    yield from _selection_checks(spec)
    if labels.computed:
        kept_for_test = labels.test_count
        if max(pools) + kept_for_test > labels.count:
            yield Problem(
                "finetuning.pools",
                str(list(pools)),
                f"the largest pool and labels.test_count ({kept_for_test}) must fit into "
                f"labels.count ({labels.count})",
            )
        needed = labels.count + spec.dynamics.replicas
        if labels.candidates < needed:
            yield Problem(
                "labels.candidates",
                str(labels.candidates),
                f"at least labels.count + dynamics.replicas = {needed}: starts are distinct "
                "structures that are not labelled",
            )
    if min(pools) <= spec.validation(min(pools)):
        yield Problem(
            "finetuning.pools",
            str(list(pools)),
            f"of {min(pools)} labels {spec.validation(min(pools))} validate: none are left to "
            "train on; a pool has more",
        )
    yield from _reactive_checks(spec)
    if labels.channels is not None and spec.system.kind != "mixture":
        yield Problem(
            "labels.channels",
            repr(labels.channels),
            f'structures of channels differ in composition: system.kind = "mixture", not '
            f'"{spec.system.kind}"',
        )
    if spec.control.method != "none" and spec.several:
        yield Problem(
            "control.method",
            repr(spec.control.method),
            "the reference method is for single molecules: leave it out",
        )
    steps = spec.control.length_ps * 1000.0 / spec.dynamics.timestep_fs
    if spec.control.method != "none" and abs(steps - round(steps)) > 1e-6 * steps:
        yield Problem(
            "control.length_ps",
            str(spec.control.length_ps),
            f"must be a whole number of time steps of {spec.dynamics.timestep_fs} fs",
        )
    if spec.control.method != "none" and spec.control.replicas > spec.dynamics.replicas:
        yield Problem(
            "control.replicas",
            str(spec.control.replicas),
            f"at most dynamics.replicas = {spec.dynamics.replicas}: the control starts from the "
            "first of its starts",
        )
    if spec.pretraining.ranks > spec.pretraining.batch_size:
        yield Problem(
            "pretraining.ranks",
            str(spec.pretraining.ranks),
            f"at most pretraining.batch_size = {spec.pretraining.batch_size}: each rank needs a "
            "structure",
        )


def parse_spec(tables: dict[str, Any], source: str, folder: Path) -> CampaignSpec:
    """Spec from the tables of a campaign file.

    Parameters
    ----------
    tables : dict
    source : str
        What messages call the file.
    folder : Path
        What paths in the file are relative to.

    Raises
    ------
    InputError
        If anything is wrong: all problems at once.
    """
    try:
        spec = CampaignSpec.model_validate(_with_absolute_paths(tables, folder))
    except ValidationError as error:
        raise refuse(source, problems_of(error, CampaignSpec)) from error
    problems = [*_cross_checks(spec), *_missing_files(spec)]
    if problems:
        raise refuse(source, problems)
    return spec


_PATH_KEYS = (
    ("system", "xyz"),
    ("system", "mol"),
    ("sampling", "force_field_file"),
    ("labels", "file"),
    ("labels", "test_file"),
    ("potential", "start_from"),
)


_SPECIES_PATH_KEYS = ("xyz", "mol", "force_field_file")


def _with_absolute_paths(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    resolved = {name: dict(t) if isinstance(t, dict) else t for name, t in tables.items()}
    for table, key in _PATH_KEYS:
        value = resolved.get(table, {}).get(key) if isinstance(resolved.get(table), dict) else None
        if isinstance(value, str) and value:
            resolved[table][key] = str((folder / value).resolve())
    system = resolved.get("system")
    if isinstance(system, dict) and isinstance(system.get("species"), list):
        system["species"] = [_species_in(folder, species) for species in system["species"]]
    return resolved


def _species_in(folder: Path, species: Any) -> Any:
    """A species with absolute paths."""
    if not isinstance(species, dict):
        return species
    files = {key: species[key] for key in _SPECIES_PATH_KEYS if isinstance(species.get(key), str)}
    return species | {key: str((folder / file).resolve()) for key, file in files.items()}


def _missing_files(spec: CampaignSpec) -> Iterator[Problem]:
    for table, key in _PATH_KEYS:
        value = getattr(getattr(spec, table), key)
        if value is not None and not Path(value).is_file():
            yield Problem(
                f"{table}.{key}",
                repr(str(value)),
                "no such file; give an existing one here or with --set "
                f"{table}.{key}=FILE (or `campaign import`)",
            )
    for place, species in enumerate(spec.system.species):
        for key in _SPECIES_PATH_KEYS:
            value = getattr(species, key)
            if value is not None and not Path(value).is_file():
                yield Problem(f"system.species.{place}.{key}", repr(value), "no such file")


def read_spec(path: Path, overrides: dict[str, Any] | None = None) -> CampaignSpec:
    """Spec from a campaign file.

    Parameters
    ----------
    path : Path
    overrides : dict, optional
        Values by dotted key, as ``--set`` gives them.

    Raises
    ------
    InputError
        If the file is absent, no TOML, or wrong: all problems at once.
    """
    tables = read_toml(path)
    for key, value in (overrides or {}).items():
        _set(tables, key.split("."), value)
    return parse_spec(tables, str(path), path.resolve().parent)


def _set(tables: dict[str, Any], steps: list[str], value: Any) -> None:
    for depth, step in enumerate(steps[:-1], start=1):
        tables = tables.setdefault(step, {})
        if not isinstance(tables, dict):
            raise InputError(
                f"--set {'.'.join(steps)}: {'.'.join(steps[:depth])} is a value, not a table"
            )
    tables[steps[-1]] = value
