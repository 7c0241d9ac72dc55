"""The stages of a campaign: what each is called, which task makes its parts, and in what order.

A stage's version is raised by hand when its science changes, and with it every fingerprint of the
stage and of what depends on it: parts made before stay where they are and are not used.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STAGES", "Stage"]


@dataclass(frozen=True)
class Stage:
    """One kind of work.

    Parameters
    ----------
    name : str
    title : str
        What progress displays call it.
    function : str
        ``module:name`` of its task.
    role : str
        Pool role that serves it.
    version : int
        Raised when the science of the stage changes.
    together : str
        ``module:name`` of a function that makes several of its parts in one batch, on a GPU.
    """

    name: str
    title: str
    function: str
    role: str = "cpu"
    version: int = 1
    together: str = ""


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("prepare", "molecule", "apps.sampling.task:prepare"),
        Stage("sample", "teacher structures", "apps.sampling.task:sample", version=2),
        Stage("candidates", "thermal candidates", "apps.sampling.task:candidates", version=2),
        Stage("select", "selection", "apps.selection.task:select"),
        Stage("pretrain", "pre-training", "apps.training.task:pretrain", role="mpi"),
        Stage("label", "expert labels", "apps.labeling.task:merge_labels"),
        Stage("test", "test labels", "apps.labeling.task:import_labels"),
        Stage("split", "splits", "apps.selection.task:split", version=2),
        Stage("starts", "starting structures", "apps.selection.task:starts"),
        Stage(
            "probe_structures",
            "probe structures",
            "apps.sampling.probe_structures:probe_structures",
            version=2,
        ),
        Stage("explore_starts", "starts of exploration", "apps.selection.rounds:exploring_starts"),
        Stage("committee", "committees", "apps.training.rounds:finetune_round", role="gpu"),
        Stage("explore", "exploration", "apps.dynamics.rounds:explore", role="gpu"),
        Stage("pick", "picked frames", "apps.selection.rounds:pick_frames"),
        Stage("acquire", "labels by rounds", "apps.labeling.rounds:merge_picks"),
        Stage("finetune", "fine-tuning", "apps.training.task:finetune", role="gpu"),
        Stage("probe", "probes", "apps.probing.task:probe_model"),
        Stage(
            "simulate",
            "dynamics",
            "apps.dynamics.task:simulate",
            role="gpu",
            together="apps.dynamics.task:simulate_together",
        ),
        Stage("control", "physical control", "apps.dynamics.task:control"),
    )
}
"""In order of precedence: what comes first is handed out first when workers are few."""
