"""`Campaign`: the Python door to everything that the command line does.

A campaign is a file and a workspace beside it. This class holds their paths and the settings laid
over the file, nothing else: it can be made anew at any time from the same file, and what was made
is found again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.cancelling import Cancelled, cancel
from campaign.costs.prediction import Foresight, foresee
from campaign.freezing import check_launched, check_owner, thaw
from campaign.ledger import Ledger, read_ledger
from campaign.left_out import LeftOut, take_back
from campaign.plan.build import Plan, build_plan
from campaign.progress import Progress
from campaign.quarantine import Quarantined, choose, kept, lift
from campaign.sites.fitness import refuse_unfit
from campaign.sites.layers import layered_site, refuse_blanks, site_settings
from campaign.sites.site import BatchSite, Site
from campaign.spec.model import CampaignSpec, read_spec
from campaign.spending import Spending, spending_of
from campaign.standing import Standing, progress_now, standing_of
from campaign.templates import write_template
from campaign.verifying import Verification, verify
from campaign.why import Explanation, explain
from campaign.workspace import Workspace
from data_store.errors import InputError

if TYPE_CHECKING:
    from campaign.exchange import TrainedModel
    from campaign.launching import Outcome

__all__ = ["Campaign"]


def _show_nothing(progress: Progress) -> None:
    """Display of a script that did not ask for one."""


def _absolute(site: str) -> str:
    """A site's name, or the absolute path of its file."""
    return str(Path(site).resolve()) if site.endswith(".toml") else site


@dataclass(frozen=True)
class Campaign:
    """A campaign file, settings laid over it, and its workspace.

    Parameters
    ----------
    file : Path
        The campaign file.
    workspace : Workspace
        Everything that the campaign makes.
    settings : dict, optional
        Values by dotted key (``{"dynamics.replicas": 64}``), laid over the file.

    Examples
    --------
    >>> from campaign import Campaign
    >>> methanol = Campaign.from_template("quickstart", "my-methanol")  # doctest: +SKIP
    >>> outcome = methanol.launch()  # doctest: +SKIP
    >>> outcome.report["comparisons"]  # doctest: +SKIP
    """

    file: Path
    workspace: Workspace
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_template(cls, template: str, folder: str | Path) -> Campaign:
        """Write a template's campaign file into a new folder, unless that very file is there.

        Raises
        ------
        InputError
            If there is no such template, or the folder holds another campaign file.
        """
        return cls.read(write_template(template, Path(folder)))

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        settings: Mapping[str, Any] | None = None,
        workspace: str | Path | None = None,
    ) -> Campaign:
        """Open a campaign by its file or its folder.

        Parameters
        ----------
        path : str or Path
            A campaign file, or a folder that holds ``campaign.toml``.
        settings : mapping, optional
            Values by dotted key, laid over the file.
        workspace : str or Path, optional
            By default ``workspace`` beside the campaign file.

        Raises
        ------
        InputError
            If there is no campaign file.
        """
        file = Path(path)
        file = file / "campaign.toml" if file.is_dir() else file
        if not file.is_file():
            raise InputError(
                f"there is no campaign file {file}",
                "`campaign init quickstart --dir NAME` writes one",
            )
        root = Path(workspace) if workspace is not None else file.parent / "workspace"
        return cls(file.resolve(), Workspace(root.resolve()), dict(settings or {}))

    def with_settings(self, settings: Mapping[str, Any]) -> Campaign:
        """Same campaign with more settings laid over it, by dotted key."""
        return replace(self, settings={**self.settings, **settings})

    @property
    def spec(self) -> CampaignSpec:
        """The checked campaign file, with the settings laid over it.

        Raises
        ------
        InputError
            With everything that is wrong, at once.
        """
        return read_spec(self.file, site_settings(self.settings)[0])

    def site(self, name: str) -> Site:
        """A site as this campaign uses it: all layers, and the settings laid over them.

        Parameters
        ----------
        name : str
            Name of a site or path of a site file.

        Raises
        ------
        InputError
            If there is no such site, it is wrong, or something is left to fill in.
        """
        layered = layered_site(name, self.file.parent, site_settings(self.settings)[1])
        refuse_blanks(layered, f"site {name}")
        return layered.site

    def plan(self) -> Plan:
        """All parts that the campaign consists of."""
        return build_plan(self.spec)

    def launched_plan(self) -> Plan:
        """The plan as last launched, from the workspace's frozen copy.

        Raises
        ------
        InputError
            If it was never launched.
        """
        return build_plan(thaw(self.workspace))

    def validate(self, site: str | None = None) -> Plan:
        """Check everything that can be checked without computing.

        Parameters
        ----------
        site : str, optional
            A site that is to serve it.

        Returns
        -------
        Plan
            What a launch would make.

        Raises
        ------
        InputError
            If a launch could not run through.
        """
        from campaign.preflight import preflight

        spec = self.spec
        check_owner(self.workspace, spec.campaign.name)
        if site is not None:
            refuse_unfit(self.site(site), spec)
        preflight(spec)
        return build_plan(spec)

    def foresee(self, site: str = "local") -> Foresight:
        """Node-hours that are left, and what the workspace will hold; some seconds.

        Parameters
        ----------
        site : str
            Name of a site or path of a site file.

        Raises
        ------
        InputError
            If the campaign or the site is unusable.
        """
        plan, at = self.plan(), self.site(site)
        refuse_unfit(at, plan.spec)
        return foresee(plan, self.workspace, at)

    def launch(
        self,
        site: str = "local",
        display: Callable[[Progress], None] = _show_nothing,
        *,
        budget_node_hours: float | None = None,
        until: str | None = None,
    ) -> Outcome:
        """Make what is missing and write the report; the same call starts and resumes.

        Parameters
        ----------
        site : str
            Name of a site or path of a site file.
        display : callable, optional
            Called with a `Progress` whenever it changed.
        budget_node_hours : float, optional
            Never passed by the blocks of all launches of this workspace, on a cluster.
        until : str, optional
            Last stage that is made.

        Raises
        ------
        InputError, WorkspaceError, Stopped
            See `campaign.launching.launch`.
        """
        from campaign.launching import Limits, launch

        limits = Limits(budget_node_hours, until)
        return launch(self.spec, self.workspace, self.site(site), display, limits)

    def launch_elsewhere(
        self,
        site: str = "local",
        *,
        as_job: bool = False,
        budget_node_hours: float | None = None,
        until: str | None = None,
    ) -> tuple[str, Path]:
        """Launch by a driver of its own: detached on this host, or a job of the site's cluster.

        Everything is checked here first. Parameters are those of `launch`; a job submits its own
        successor before its walltime.

        Returns
        -------
        str, Path
            Process id, or job; and the file that the driver writes to.

        Raises
        ------
        InputError
            If a launch could not run through, or a driver is at work.
        Stopped
            If the batch system does not answer.
        """
        from campaign.execution.driver_submission import detach, submit_driver
        from campaign.launching import Limits

        found, limits = self.site(site), Limits(budget_node_hours, until)
        refuse_unfit(found, self.validate().spec, limits.budget_node_hours)
        self.workspace.prepare()
        with self.workspace.locked():
            pass
        arguments = ["launch", str(self.file), "--site", _absolute(site)]
        arguments += ["--workspace", str(self.workspace.root)]
        arguments += [] if budget_node_hours is None else ["--budget", str(budget_node_hours)]
        arguments += [] if until is None else ["--until", until]
        for key, value in self.settings.items():
            arguments += ["--set", f"{key}={json.dumps(value)}"]
        if not as_job:
            process, log = detach(self.workspace, arguments)
            return str(process), log
        if not isinstance(found, BatchSite):
            raise InputError(
                f"site {site} has no batch system for the driver's job",
                "give a cluster's site, or --detach",
            )
        job = submit_driver(self.workspace, found, arguments)
        return job, self.workspace.logs / "driver.log"

    def status(self) -> Progress:
        """How far the last launch is, or has come."""
        return progress_now(self.launched_plan().parts, self.workspace)

    def standing(self) -> Standing:
        """Progress, items by outcome, time left and what the blocks took."""
        return standing_of(self.launched_plan().parts, self.workspace)

    def spending(self) -> Spending:
        """Blocks now and node-hours so far, of all launches on a cluster."""
        return spending_of(read_ledger(self.workspace.ledger))

    def cancel(self, *, drain: bool = False) -> Cancelled:
        """Stop the driver, wherever it runs, and end all processes and jobs of this campaign.

        Parameters
        ----------
        drain : bool
            Let tasks in flight end first.

        Raises
        ------
        InputError
            If nothing was launched.
        Stopped
            If the driver does not stop, or the batch system does not answer.
        """
        check_launched(self.workspace)
        return cancel(self.workspace, drain=drain)

    def retry(self, items: Sequence[str] = (), cause: str | None = None) -> list[Quarantined]:
        """Lift quarantines: the next launch tries these parts again, with fresh tries.

        Parameters
        ----------
        items : sequence of str
            Labels, stages or beginnings of fingerprints; by default all that is in quarantine.
        cause : {"method", "software", "lost"}, optional
            Only what is in quarantine by this cause.

        Returns
        -------
        list of Quarantined
            What was lifted.

        Raises
        ------
        InputError
            If a name fits nothing in quarantine, a driver is at work, or nothing was launched.
        WorkspaceError
            If the file system refuses.
        """
        check_launched(self.workspace)
        with self.workspace.locked(), Ledger(self.workspace.ledger) as ledger:
            chosen = choose(kept(self.workspace), items, cause)
            for entry in chosen:
                lift(self.workspace, entry)
                ledger.write(
                    "lifted", stage=entry.stage, label=entry.label, fingerprint=entry.fingerprint
                )
        return chosen

    def take_back_hosts(self, hosts: Sequence[str]) -> list[LeftOut]:
        """Use hosts again that were left out since they eat tasks, from the next launch on.

        Raises
        ------
        InputError
            If one of them is not left out, a driver is at work, or nothing was launched.
        """
        check_launched(self.workspace)
        return take_back(self.workspace, hosts)

    def why(self, item: str) -> Explanation:
        """What one part is, what became of it, and what to do about it.

        Parameters
        ----------
        item : str
            Label, beginning of a fingerprint, or a stage of one part.

        Raises
        ------
        InputError
            If that is no part of the campaign, or several; or nothing was launched.
        """
        return explain(self.launched_plan(), self.workspace, item)

    def verify_data(self, stage: str | None = None) -> Verification:
        """Compare every part that is there with its manifest, byte by byte.

        Parameters
        ----------
        stage : str, optional
            Only parts of this stage.

        Raises
        ------
        InputError
            If there is no such stage, or nothing was launched.
        """
        return verify(self.launched_plan(), self.workspace, stage)

    def models(self) -> list[TrainedModel]:
        """Fine-tuned models that are there, with their weights files (docs/models.md).

        Raises
        ------
        InputError
            If nothing was launched.
        """
        from campaign.exchange import trained_models

        return trained_models(self)

    def report(self, rdf: Path | None = None) -> dict[str, Any]:
        """Write the report anew from what is there, and return what `report.json` holds.

        Parameters
        ----------
        rdf : Path, optional
            g(r) that simulated boxes are held to, in place of the labels'.

        Raises
        ------
        InputError
            If nothing was launched, or no dynamics is there yet, or `rdf` is of no use.
        """
        from campaign.report.collect import collect
        from campaign.report.write import write_report

        found: dict[str, Any] = write_report(
            self.workspace, collect(self.launched_plan(), self.workspace, rdf)
        )
        return found
