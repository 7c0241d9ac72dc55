"""`Site`: pools of workers on a machine, from a TOML file.

A pool serves a role: ``cpu`` (sampling, labelling), ``gpu`` (dynamics, fine-tuning on one device),
``mpi`` (training over ranks). A role without a pool of its own is served by ``cpu``. A site says
nothing about the science, and nothing of it enters a fingerprint. How a pool becomes a Parsl
executor is `campaign.execution.parsl_config`'s business.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from campaign.spec.problems import problems_of, read_toml, refuse
from data_store.errors import unknown_name

__all__ = ["Pool", "Site", "available_cores", "packaged_sites", "read_site"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pool(_Strict):
    """Workers of one kind."""

    workers_per_node: int | Literal["auto"] = "auto"
    """Worker processes on a node; "auto" is one per core that this process may use."""

    threads_per_worker: int = Field(default=1, ge=1)
    """Threads of each worker. Bitwise reproduction is claimed for one."""

    worker_init: str = ""
    """Shell lines run before the workers start (modules, environment variables)."""


class SiteHeader(_Strict):
    """The ``[site]`` table."""

    name: str = Field(min_length=1)
    """What the site is called in ledgers and reports."""

    scheduler: Literal["local"] = "local"
    """Who starts workers."""


class Site(_Strict):
    """A site file."""

    site: SiteHeader
    """Name and scheduler."""

    pools: dict[Literal["cpu", "gpu", "mpi"], Pool]
    """Pools by role; ``cpu`` is required."""

    @field_validator("pools")
    @classmethod
    def _one_for_all(cls, pools: dict[str, Pool]) -> dict[str, Pool]:
        if "cpu" not in pools:
            raise ValueError("a pool cpu is required: it serves every role without one of its own")
        return pools

    def pool_of(self, role: str) -> str:
        """Name of the pool that serves a role."""
        return role if role in self.pools else "cpu"


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def packaged_sites() -> dict[str, Path]:
    """Site files that come with the package, by name."""
    folder = Path(str(resources.files("site_configs")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_site(name: str) -> Site:
    """Site by name (of a packaged file) or by path of a file.

    Raises
    ------
    InputError
        If there is no such site or its file is wrong; all errors at once.
    """
    sites = packaged_sites()
    path = Path(name) if name.endswith(".toml") else sites.get(name)
    if path is None:
        raise unknown_name("site", name, list(sites))
    try:
        hint = f"give a file that is there, or a packaged site: {', '.join(sites)}"
        site = Site.model_validate(read_toml(path, hint))
    except ValidationError as error:
        raise refuse(str(path), problems_of(error, Site)) from error
    return site
