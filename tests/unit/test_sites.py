"""Site files: layers and origins, blanks, the packaged ones, and what cannot serve a campaign."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from campaign.campaign import Campaign
from campaign.sites.driver_job import DriverJob
from campaign.sites.fitness import refuse_unfit
from campaign.sites.layers import layered_site, packaged_sites, read_site, sites_by_name
from campaign.sites.site import BatchPool, BatchSite
from campaign.sites.walltime import seconds_of_walltime
from campaign.spec.model import CampaignSpec, parse_spec
from data_store.errors import InputError
from tests.e2e.tiny import TINY

HOUR_S = 3600

LONGEST_S = {
    # The limits that each machine documents, by partition (and quality of service), in seconds.
    ("perlmutter", "", "regular"): 48 * HOUR_S,
    ("frontier", "batch", ""): 2 * HOUR_S,  # of up to 91 nodes
    ("delta", "cpu", ""): 48 * HOUR_S,
    ("delta", "gpuA100x4", ""): 48 * HOUR_S,
    ("lumi", "standard", ""): 48 * HOUR_S,
    ("lumi", "standard-g", ""): 48 * HOUR_S,
    ("polaris", "preemptable", ""): 72 * HOUR_S,
    # Of the driver's own job:
    ("perlmutter", "", "shared"): 48 * HOUR_S,
    ("lumi", "small", ""): 72 * HOUR_S,
    ("polaris", "capacity", ""): 168 * HOUR_S,
}
MACHINES = sorted({name for name, _, _ in LONGEST_S})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the user's own sites, empty at first."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "campaign" / "sites"
    folder.mkdir(parents=True)
    return folder


def batch(name: str, **settings: Any) -> BatchSite:
    site = read_site(name, settings={key.replace("__", "."): v for key, v in settings.items()})
    assert isinstance(site, BatchSite)
    return site


@pytest.mark.parametrize("name", packaged_sites())
def test_packaged_sites_say_where_they_are_from(name: str) -> None:
    layered = layered_site(name)
    head = layered.site.site
    assert head.name == name
    assert head.description
    if name == "local":
        assert head.tested
        assert not layered.blanks
        return
    assert not head.tested
    assert "documentation" in head.source or "guides" in head.source
    assert head.source_date == "2026-11-24"
    assert {f"pools.{pool}.account" for pool in layered.site.pools} <= set(layered.blanks)


@pytest.mark.parametrize("name", MACHINES)
def test_walltimes_are_within_what_the_machine_documents(name: str) -> None:
    site = batch(name)
    jobs: list[BatchPool | DriverJob] = [*site.pools.values(), site.driver]
    for job in jobs:
        longest_s = LONGEST_S[name, job.partition, job.qos]
        assert seconds_of_walltime(job.walltime) <= longest_s


def test_every_public_machine_has_its_limits_here() -> None:
    assert {*MACHINES, "local", "slurm_generic"} == set(packaged_sites())


def test_each_layer_is_laid_over_the_one_before(tmp_path: Path, home: Path) -> None:
    packaged, user = packaged_sites()["delta"], home / "delta.toml"
    campaign = tmp_path / "mine" / "sites" / "delta.toml"
    campaign.parent.mkdir(parents=True)
    user.write_text('[pools.cpu]\naccount = "user"\nmax_blocks = 2\nwalltime = "01:00:00"\n')
    campaign.write_text(
        '[pools.cpu]\nmax_blocks = 3\nwalltime = "02:00:00"\n[pools.cpu.environment]\nA = "1"\n'
    )
    found = layered_site("delta", tmp_path / "mine", {"pools.cpu.walltime": "03:00:00"})
    cpu = found.site.pools["cpu"]
    assert isinstance(cpu, BatchPool)
    assert (cpu.partition, cpu.account, cpu.max_blocks) == ("cpu", "user", 3)
    assert cpu.walltime == "03:00:00"
    from_where = {value.key: value.origin for value in found.values}
    assert from_where["pools.cpu.partition"] == str(packaged)
    assert from_where["pools.cpu.account"] == str(user)
    assert from_where["pools.cpu.max_blocks"] == str(campaign)
    assert from_where["pools.cpu.environment.A"] == str(campaign)
    assert from_where["pools.cpu.walltime"] == "--set"
    assert from_where["pools.cpu.qos"] == "default"
    assert sites_by_name(tmp_path / "mine")["delta"] == [packaged, user, campaign]
    # A site of another campaign, and one by its file, know nothing of these.
    assert layered_site("delta", tmp_path).site.pools["cpu"].max_blocks == 2  # type: ignore[attr-defined]
    assert layered_site(str(packaged)).site.pools["cpu"].max_blocks == 4  # type: ignore[attr-defined]


def test_an_unknown_key_names_its_file(home: Path) -> None:
    (home / "delta.toml").write_text("[pools.cpu]\nmax_block = 2\n")
    with pytest.raises(InputError) as refused:
        read_site("delta")
    assert "did you mean 'max_blocks'" in str(refused.value)
    assert f"(from {home / 'delta.toml'})" in str(refused.value)
    with pytest.raises(InputError, match=r"pools\.cpu\.walltme.*from --set"):
        read_site("lumi", settings={"pools.cpu.walltme": "1"})


def test_all_errors_come_at_once(home: Path) -> None:
    (home / "x.toml").write_text(
        '[site]\nname = ""\nscheduler = "slurm"\ntestd = true\n'
        '[pools.cpu]\nwalltime = "soon"\nmax_blocks = 0\n[pools.tpu]\nwalltime = "1:00:00"\n'
    )
    with pytest.raises(InputError) as refused:
        read_site("x")
    for part in ("site.name", "did you mean 'tested'", "'soon'", "max_blocks", "tpu"):
        assert part in str(refused.value)


def test_blanks_are_refused_until_they_are_filled(tmp_path: Path, home: Path) -> None:
    campaign = Campaign.from_template("quickstart", tmp_path / "q")
    with pytest.raises(InputError) as refused:
        campaign.site("slurm_generic")
    assert "to be filled in: pools.cpu.partition, pools.cpu.account" in str(refused.value)
    (home / "slurm_generic.toml").write_text('[pools.cpu]\npartition = "p"\naccount = ""\n')
    assert campaign.site("slurm_generic").site.name == "slurm_generic"
    half = campaign.with_settings({"pools.cpu.account": "<mine>"})
    with pytest.raises(InputError, match=r"pools\.cpu\.account"):
        half.site("slurm_generic")
    assert half.with_settings({"pools.cpu.account": "a"}).site("slurm_generic")


@pytest.mark.parametrize("key", ["qos", "constraint"])
def test_keys_without_effect_on_pbs_are_refused(key: str) -> None:
    with pytest.raises(InputError, match=rf"pools\.gpu\.{key}.*scheduler_options"):
        read_site("polaris", settings={f"pools.gpu.{key}": "x"})


def test_a_walltime_without_use_is_refused() -> None:
    with pytest.raises(InputError, match=r"pools\.cpu\.walltime = '3'.*180 s"):
        read_site("delta", settings={"pools.cpu.walltime": "3"})
    assert batch("delta", pools__cpu__walltime="4").drain_s(batch("delta").pools["cpu"]) > 0


def spec(ranks: int = 1, arms: tuple[str, ...] = ("pretrained", "scratch")) -> CampaignSpec:
    tables = tomllib.loads(TINY)
    tables["pretraining"] |= {"ranks": ranks, "batch_size": 16}
    tables["finetuning"]["arms"] = list(arms)
    return parse_spec(tables, "tiny", Path())


def problems(site: Any, campaign: CampaignSpec, budget: float | None = None) -> str:
    with pytest.raises(InputError) as refused:
        refuse_unfit(site, campaign, budget)
    return str(refused.value)


@pytest.mark.parametrize("name", packaged_sites())
def test_every_packaged_site_is_fit_for_a_campaign(name: str) -> None:
    refuse_unfit(read_site(name), spec())


def test_ranks_have_to_fit_a_block_evenly() -> None:
    site = batch("delta")  # two nodes of four ranks
    for ranks in (1, 2, 4, 6, 8):
        refuse_unfit(site, spec(ranks))
    assert "at most 8" in problems(site, spec(9))
    assert "not the same number on each of 2 nodes" in problems(site, spec(5))


def test_a_pool_that_no_stage_uses_is_refused() -> None:
    site = batch("delta")
    assert "pools.mpi" in problems(site, spec(arms=("scratch",)))
    refuse_unfit(site, spec())


def test_no_more_blocks_than_the_user_may_have() -> None:
    found = problems(batch("delta", site__max_jobs=8), spec())
    assert "more than site.max_jobs = 8 (cpu 4, gpu 4, mpi 1)" in found
    refuse_unfit(batch("delta", site__max_jobs=9), spec())


@pytest.mark.parametrize(("table", "pool"), [
    ("pretraining", "mpi"), ("finetuning", "gpu"), ("dynamics", "gpu"),
])  # fmt: skip
def test_a_task_limit_longer_than_the_usable_walltime_is_refused(table: str, pool: str) -> None:
    site = batch("delta", **{f"pools__{pool}__walltime": "00:10:00"})
    usable_s = 600 - site.site.start_up_s - site.site.grace_s
    tables = tomllib.loads(TINY)

    def every(seconds: float) -> CampaignSpec:
        return parse_spec(
            {**tables, table: {**tables[table], "checkpoint_every_s": seconds}}, "tiny", Path()
        )

    refuse_unfit(site, every(usable_s))
    found = problems(site, every(usable_s + 1))
    assert f"{table}.checkpoint_every_s" in found
    assert f"pool {pool} gives a task {usable_s} s" in found
    assert f"pools.{pool}.walltime" in found
    if table == "pretraining":  # which is not made, and so not asked about
        alone = tomllib.loads(TINY)
        alone["finetuning"]["arms"] = ["scratch"]
        alone["pretraining"]["checkpoint_every_s"] = 1e6
        assert "checkpoint" not in problems(site, parse_spec(alone, "tiny", Path()))


def test_all_that_does_not_fit_comes_at_once() -> None:
    found = problems(batch("delta", site__max_jobs=8), spec(9))
    assert "2 problems" in found


def test_a_budget_needs_blocks_to_count() -> None:
    assert "no batch system" in problems(read_site("local"), spec(), 10.0)
    refuse_unfit(batch("delta"), spec(), 10.0)
