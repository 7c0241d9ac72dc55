"""The parts of active learning: a chain of rounds for each seed, all planned before any is made.

How often a chain's rounds are worth their while is known only when they are made. So as many are
planned as the label budget takes, and a round that finds its chain over repeats what stands
(`apps.rounds`): the plan stays what it is, and nothing is computed.

    labels so far → models (a committee) → exploration → picks → labels so far → …

In keys ``labels`` is the budget after so many rounds; how many calls were made, parts say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from apps.labeling.settings import LIMITS
from apps.selection.settings import ActiveLearningSettings
from campaign.plan.identities import TRAINING_RESOURCES, as_before, start_file
from campaign.plan.items import Items, PlannedPart, planned_part
from campaign.plan.stages import STAGES
from campaign.spec.model import CampaignSpec
from data_store.fingerprints import fingerprint
from data_store.streams import stream_seed

__all__ = ["ARM", "Chains", "budgets", "plan_chains"]

ARM = "active_learning"

LABELS_PER_TASK = 3


@dataclass
class Chains:
    """What active learning adds to a plan.

    Parameters
    ----------
    parts : list of PlannedPart
        In order of dependence.
    models : list of PlannedPart
        The model of each round that the dynamics examines, and the one before it of its chain.
    """

    parts: list[PlannedPart] = field(default_factory=list)
    models: list[tuple[PlannedPart, PlannedPart | None]] = field(default_factory=list)


def budgets(spec: CampaignSpec) -> list[int]:
    """Label budget before the first round, and after each; a single one without the table."""
    table, pools = spec.active_learning, spec.finetuning.pools
    if table is None:
        return [min(pools)]
    first, last = table.initial_labels or min(pools), table.label_budget or max(pools)
    return [*range(first, last, table.labels_per_round), last]


def plan_chains(
    spec: CampaignSpec,
    molecule: PlannedPart,
    label: PlannedPart,
    tests: list[PlannedPart],
    splits: dict[int, PlannedPart],
    starts: PlannedPart,
    others: list[PlannedPart],
) -> Chains:
    """Plan all chains; nothing without the table ``[active_learning]``.

    Parameters
    ----------
    spec : CampaignSpec
    molecule, label : PlannedPart
    tests : list of PlannedPart
    splits : dict of int to PlannedPart
        By pool.
    starts : PlannedPart
        Of the examination.
    others : list of PlannedPart
        Models of the other arms: `scratch` at the initial labels is the model of the first round.
    """
    if spec.active_learning is None:
        return Chains()
    maker = _Maker(spec, spec.active_learning, molecule, label, tests, splits, starts)
    chains = Chains([maker.initial, maker.exploring])
    for seed in spec.finetuning.seeds:
        key = {"arm": "scratch", "labels": maker.budgets[0], "seed": seed}
        first = next((model for model in others if model.key == key), None)
        _plan_chain(maker, seed, first, chains)
    return chains


def _plan_chain(maker: _Maker, seed: int, given: PlannedPart | None, chains: Chains) -> None:
    standing = maker.initial
    members: list[PlannedPart] = []
    each_round, last = maker.table.examine == "each_round", len(maker.budgets) - 1
    for number, budget in enumerate(maker.budgets):
        own = given if number == 0 else None
        model = own or maker.model(seed, budget, standing, members[:1])
        chains.parts += [] if own else [model]
        if own is None and (each_round or number == last):
            before = members[0] if each_round and members else None
            chains.models.append((model, before))
        if number == last:
            return
        others = list(maker.others(seed, budget, standing, members[1:]))
        members = [model, *others]
        runs = list(maker.explorations(seed, number, budget, model, standing))
        picks = maker.picks(seed, number + 1, runs, members, standing)
        standing = maker.labels(seed, number + 1, picks, standing)
        chains.parts += [*others, *runs, picks, standing]


class _Maker:
    """Planned parts of rounds."""

    def __init__(
        self,
        spec: CampaignSpec,
        table: ActiveLearningSettings,
        molecule: PlannedPart,
        label: PlannedPart,
        tests: list[PlannedPart],
        splits: dict[int, PlannedPart],
        starts: PlannedPart,
    ) -> None:
        self.spec, self.table, self.budgets = spec, table, budgets(spec)
        self._molecule, self._label, self._tests = molecule, label, tests
        self._smallest, self._starts = splits[min(splits)], starts
        self.initial = planned_part(
            "acquire",
            f"initial {self.budgets[0]} labels",
            {},
            spec.campaign.seed,
            key={"round": 0},
            inputs={"labels": [label], "split": [splits[self.budgets[0]]]},
            function="apps.selection.rounds:begin",
        )
        rounds = len(self.budgets) - 1
        self.exploring = planned_part(
            "explore_starts",
            "starts of exploration",
            {"count": rounds * spec.dynamics.block_replicas},
            spec.campaign.seed,
            inputs={"so_far": [self.initial]},
        )

    def model(
        self, seed: int, budget: int, standing: PlannedPart, before: list[PlannedPart]
    ) -> PlannedPart:
        """First member of a committee: the model that explores, and is examined."""
        key = {"arm": ARM, "labels": budget, "seed": seed}
        label = f"{ARM}, {budget} labels, seed {seed}"
        return self._trained("finetune", label, key, self.spec.campaign.seed, standing, before)

    def others(
        self, seed: int, budget: int, standing: PlannedPart, before: list[PlannedPart]
    ) -> Iterator[PlannedPart]:
        """Yield the other members, from other weights and batches."""
        for place in range(1, self.table.committee):
            yield self._trained(
                "committee",
                f"member {place} of {ARM}, {budget} labels, seed {seed}",
                {"labels": budget, "seed": seed, "member": place},
                stream_seed(self.spec.campaign.seed, ARM, "member", place),
                standing,
                before[place - 1 : place],
            )

    def _trained(
        self,
        stage: str,
        label: str,
        key: dict[str, Any],
        stream: int,
        standing: PlannedPart,
        before: list[PlannedPart],
    ) -> PlannedPart:
        spec = self.spec
        kept_out = {"arms", "pools", "seeds", "scratch_long_pools"}
        return planned_part(
            stage,
            label,
            {
                "potential": spec.potential.model_dump(mode="json"),
                "finetuning": spec.finetuning.model_dump(mode="json", exclude=kept_out),
                "pretraining_steps": 0,
            },
            stream,
            key=key,
            inputs={"labels": [standing], "split": [standing], "molecule": [self._molecule]}
            | ({"test": self._tests} if self._tests else {})
            | ({"before": before} if before else {}),
            files=start_file(spec),
            not_science=(
                *(f"finetuning.{name}" for name in TRAINING_RESOURCES),
                "potential.start_from",
                *as_before(spec),
            ),
            function="apps.training.rounds:finetune_round",
        )

    def explorations(
        self, seed: int, number: int, budget: int, model: PlannedPart, standing: PlannedPart
    ) -> Iterator[PlannedPart]:
        """Yield short dynamics by the model of a round, at each temperature; blocks are rounds."""
        dynamics = self.spec.dynamics
        settings = dynamics.model_dump(mode="json", exclude={"temperatures_K", "replicas"})
        settings |= {"length_ps": self.table.length_ps}
        for temperature in dynamics.temperatures_K:
            yield planned_part(
                "explore",
                f"exploration with {budget} labels, seed {seed}, {temperature:g} K",
                {"dynamics": settings, "replicas_in_block": self.table.replicas},
                stream_seed(self.spec.campaign.seed, ARM, "explore"),
                key={
                    "labels": budget, "seed": seed, "temperature_K": temperature, "block": number,
                },
                inputs={
                    "model": [model],
                    "starts": [self.exploring],
                    "split": [self._smallest],
                    "labels": [self._label],
                    "molecule": [self._molecule],
                    "so_far": [standing],
                },
                not_science=tuple(f"dynamics.{name}" for name in TRAINING_RESOURCES),
            )  # fmt: skip

    def picks(
        self,
        seed: int,
        number: int,
        runs: list[PlannedPart],
        members: list[PlannedPart],
        standing: PlannedPart,
    ) -> PlannedPart:
        """What is to be labelled after a round."""
        names = {
            "disagreement_eV_per_A", "distinct_per_A", "least_distance_A", "stop_rate_per_ns",
        }  # fmt: skip
        settings = self.table.model_dump(mode="json", include=names)
        return planned_part(
            "pick",
            f"picks of round {number}, seed {seed}",
            {**settings, "count": self._asked(number)},
            self.spec.campaign.seed,
            key={"round": number, "seed": seed},
            inputs={
                "runs": runs,
                "model": members[:1],
                "committee": members[1:],
                "so_far": [standing],
                "molecule": [self._molecule],
            },
        )

    def _asked(self, number: int) -> int:
        """Most expert calls of a round."""
        return self.budgets[number] - self.budgets[number - 1]

    def labels(
        self, seed: int, number: int, picks: PlannedPart, standing: PlannedPart
    ) -> PlannedPart:
        """Labels so far, after a round."""
        labels, campaign = self.spec.labels, self.spec.campaign
        name, key = f"labels of round {number}, seed {seed}", {"round": number, "seed": seed}
        inputs = {"candidates": [picks], "so_far": [standing]}
        if not labels.computed:
            # Without a file of test labels, examination starts from published labels.
            starts = {} if self._tests else {"starts": [self._starts]}
            return planned_part(
                "acquire", name, {}, campaign.seed, key=key,
                inputs={**inputs, "labels": [self._label], **starts},
                function="apps.selection.rounds:take_withheld",
            )  # fmt: skip
        method, count = labels.identity(), self._asked(number)
        series = {
            "stage": "acquire",
            "version": STAGES["acquire"].version,
            "settings": method,
            "inputs": [picks.fingerprint],
        }
        limits = {key: value for key in LIMITS if (value := getattr(labels, key)) is not None}
        return planned_part(
            "acquire", name, {**method, "count": count, **limits}, campaign.seed, key=key,
            inputs={**inputs, "order": [picks], "molecule": [self._molecule]},
            items=Items(
                count, "apps.labeling.rounds:label_picks", fingerprint(series), LABELS_PER_TASK
            ),
            not_science=LIMITS,
        )  # fmt: skip
