"""What a site will submit, written out before anything is: batch scripts and Parsl's configuration.

The executors are those of a launch, and so is the code that composes a worker's command and writes
a script; only the last step is not made: the scheduler's command is caught instead of run. Nothing
is started, submitted or asked over the network. What is known at a launch only (its folder, its
ports, when it is) stands as a placeholder: ``<port>``.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parsl.config import Config
from parsl.executors import HighThroughputExecutor, MPIExecutor
from parsl.providers import LocalProvider, PBSProProvider, SlurmProvider

from campaign.execution.blocks import BlockWatch
from campaign.execution.parsl_config import parsl_config
from campaign.sites.site import BatchSite, Site, is_blank
from data_store.errors import InputError

__all__ = ["Rendered", "render"]

RUN_FOLDER = "<run folder>"
_ADDRESSES, _PREFIX, _TIME = "<addresses>", "campaign-<workspace>", "<time>"
_SHOWN_AS = (MPIExecutor, HighThroughputExecutor, SlurmProvider, PBSProProvider)
"""Parsl's own classes, most special first: ours take a site and have no arguments to show."""


@dataclass(frozen=True)
class Rendered:
    """What one pool submits.

    Parameters
    ----------
    pool : str
    command : str
        By which the script is handed over.
    script : str
    """

    pool: str
    command: str
    script: str


def render(site: Site) -> tuple[list[Rendered], str]:
    """What each pool of a site submits, and Parsl's configuration as its ``repr`` tells it.

    Parameters
    ----------
    site : Site
        Blanks in it stay as they are.

    Raises
    ------
    InputError
        If the site's executors come from a function of the user's, which is not run here, or a
        walltime is still a blank.
    """
    if site.site.python:
        raise InputError(
            f"site {site.site.name}: its executors come from {site.site.python}, which is not run "
            "to be shown",
            "leave --rendered away, or site.python empty",
        )
    for name, pool in site.pools.items():
        if is_blank(getattr(pool, "walltime", "")):
            raise InputError(
                f"pools.{name}.walltime = {pool.walltime!r} is still to be filled in",  # type: ignore[attr-defined]
                f"a time that is no time cannot be shown: --set pools.{name}.walltime=01:00:00",
            )
    config = parsl_config(_with_address(site), Path(RUN_FOLDER), _unrecorded())
    for executor in config.executors:
        if isinstance(site, BatchSite):
            executor.address = site.site.address or None
    told = repr(_shown(config))
    with tempfile.TemporaryDirectory() as folder:
        return [_rendered(executor, folder) for executor in config.executors], told


def _unrecorded() -> BlockWatch:
    def record(event: str, **fields: Any) -> None:
        """Nothing: what is shown is no history."""

    return BlockWatch(record, _PREFIX)


def _with_address(site: Site) -> Site:
    """The site with an address: an executor without one looks for its own over the network."""
    if not isinstance(site, BatchSite) or site.site.address:
        return site
    return site.model_copy(update={"site": site.site.model_copy(update={"address": _ADDRESSES})})


def _shown(config: Config) -> Config:
    """The configuration with Parsl's own classes in the place of ours, for its ``repr``."""
    shown = _as_parsl(config)
    shown._executors = tuple(_as_parsl(executor) for executor in config.executors)
    for executor in shown._executors:
        executor._provider = _as_parsl(executor.provider)
    return shown


def _as_parsl(thing: Any) -> Any:
    kind = next((kind for kind in _SHOWN_AS if isinstance(thing, kind)), type(thing))
    shown = object.__new__(kind)
    shown.__dict__.update(thing.__dict__)
    if isinstance(thing, SlurmProvider | PBSProProvider):
        shown.max_blocks = thing.max_blocks
    return shown


def _rendered(executor: Any, folder: str) -> Rendered:
    executor.run_dir, executor.worker_port = RUN_FOLDER, "<port>"
    executor.cert_dir = "<certificates>" if executor.encrypted else None
    executor.logconf_path = f"{RUN_FOLDER}/{executor.label}/log_config/log_config.pkl"
    executor.initialize_scaling()  # composes the command; blocks are started by another
    command = executor._get_launch_command("<block>")
    provider = executor.provider
    if isinstance(provider, LocalProvider):
        lines = f"{provider.worker_init}\n\n{provider.launcher(command, 1, 1)}\n"
        return Rendered(executor.label, f"bash {RUN_FOLDER}/submit_scripts/<script>.sh", lines)
    provider.script_dir = folder
    return replace(_submitted(provider, command, folder), pool=executor.label)


def _submitted(provider: Any, command: str, folder: str) -> Rendered:
    """The script that a provider writes, and the scheduler's command, which is caught."""
    caught: list[str] = []

    def catch(asked: str, timeout: int | None = None) -> tuple[int, str, str]:
        caught.append(asked)
        return 0, "Submitted batch job 0", ""

    provider.execute_wait = catch
    provider.submit(command, 1)
    (asked,) = caught
    (script,) = Path(folder).iterdir()
    told = Rendered("", " ".join(asked.split()), script.read_text(encoding="utf-8"))
    name = script.name
    script.unlink()
    return replace(
        told,
        command=_anonymous(told.command, folder, name),
        script=_anonymous(told.script, folder, name),
    )


def _anonymous(text: str, folder: str, name: str) -> str:
    """Text without what differs from one rendering to the next."""
    head = name[: name.index(".", len(_PREFIX))]
    return text.replace(folder, f"{RUN_FOLDER}/submit_scripts").replace(name, f"{head}.{_TIME}")
