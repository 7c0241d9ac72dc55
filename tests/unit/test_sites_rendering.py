"""What pools submit, as it is shown: word for word, and without submitting it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from parsl.config import Config

from campaign.execution.parsl_config import parsl_config
from campaign.execution.rendering import render
from campaign.sites.layers import packaged_sites, read_site
from campaign.sites.site import BatchSite
from data_store.errors import InputError
from tests.unit.golden_scripts import FOLDER, scripts_of_site
from tests.watch import UNWATCHED

CLUSTERS = [name for name in packaged_sites() if isinstance(read_site(name), BatchSite)]


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """No process, no thread, no look at the network; and only packaged layers."""

    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError(f"started or asked: {arguments}")

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr("parsl.executors.high_throughput.executor.get_all_addresses", refuse)
    threads, children = set(threading.enumerate()), psutil.Process().children(recursive=True)
    yield
    assert set(threading.enumerate()) == threads
    assert psutil.Process().children(recursive=True) == children


@pytest.mark.parametrize("name", CLUSTERS)
def test_scripts_are_those_that_are_kept(name: str) -> None:
    """`python -m tests.unit.golden_scripts` writes them anew where they are meant to change."""
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob(f"{name}-*.sh")}
    assert scripts_of_site(name) == kept


def test_no_script_is_kept_of_a_site_or_pool_that_is_gone() -> None:
    named = {f"{name}-{pool}.sh" for name in CLUSTERS for pool in read_site(name).pools}
    assert {path.name for path in FOLDER.iterdir()} == named


@pytest.mark.parametrize("name", packaged_sites())
def test_each_pool_is_rendered_and_blanks_stay_as_they_are(name: str) -> None:
    site = read_site(name)
    scripts, config = render(site)
    assert [found.pool for found in scripts] == list(site.pools)
    for found in scripts:
        pool = site.pools[found.pool]  # type: ignore[index]
        assert "process_worker_pool.py" in found.script
        assert tempfile.gettempdir() not in found.script.replace(sys.executable, "python")
        assert getattr(pool, "account", "") in found.script + found.command
        assert f"label='{found.pool}'" in config
    assert "<unrecorded>" not in config
    assert "<addresses>" not in config


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("pools.cpu.partition", "night", "#SBATCH --partition=night"),
        ("pools.cpu.qos", "low", "#SBATCH --qos=low"),
        ("pools.cpu.constraint", "ice", "#SBATCH --constraint=ice"),
        ("pools.cpu.walltime", "2-00:00:00", "#SBATCH --time=2880"),
        ("pools.cpu.nodes_per_block", 3, "#SBATCH --nodes=3"),
        ("pools.cpu.nodes_per_block", 3, "srun --ntasks 3"),
        ("pools.cpu.cores_per_node", 7, "#SBATCH --cpus-per-task=7"),
        ("pools.cpu.memory_per_node_GB", 9, "#SBATCH --mem=9g"),
        ("pools.cpu.gpus_per_node", 2, "#SBATCH --gpus-per-node=2"),
        ("pools.cpu.exclusive", True, "#SBATCH --exclusive"),
        ("pools.cpu.scheduler_options", ["--mail-type=NONE"], "#SBATCH --mail-type=NONE"),
        ("pools.cpu.worker_init", "module load x", "module load x"),
        ("pools.cpu.environment", {"A": "b c"}, "export A='b c'"),
        ("pools.cpu.command_prefix", "apptainer exec i.sif", "apptainer exec i.sif "),
        ("pools.cpu.interpreter", "/opt/python", "/opt/python -P -m campaign"),
        ("pools.cpu.threads_per_worker", 4, "export OMP_NUM_THREADS=4"),
        ("pools.cpu.workers_per_node", 5, "--max_workers_per_node=5"),
        ("site.address", "login7", "-a login7 "),
        ("site.scratch", "$TMP", 'export TMPDIR="$TMP"'),
        ("site.silence_s", 77, "--hb_threshold=77"),
        ("site.grace_s", 99, "- 99 ))"),
    ],
)
def test_each_key_has_its_line(key: str, value: Any, line: str) -> None:
    (found,) = render(read_site("slurm_generic", settings={key: value}))[0]
    (before,) = render(read_site("slurm_generic"))[0]
    assert line in found.script
    assert line not in before.script


def test_the_configuration_shows_what_parsl_gets() -> None:
    config = render(read_site("perlmutter"))[1]
    for part in ("MPIExecutor(", "HighThroughputExecutor(", "SlurmProvider(", "qos='regular'",
                 "max_blocks=4", "walltime='06:00:00'", "address=None"):  # fmt: skip
        assert part in config


def test_a_walltime_that_is_a_blank_is_no_time() -> None:
    site = read_site("slurm_generic", settings={"pools.cpu.walltime": "<walltime>"})
    with pytest.raises(InputError, match=r"pools\.cpu\.walltime"):
        render(site)


FUNCTION = """
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

def pools(site, run_dir):
    return Config(executors=[ThreadPoolExecutor(label=name) for name in site.pools])

def other(site, run_dir):
    return Config(executors=[ThreadPoolExecutor(label="else")])

def nothing(site, run_dir):
    return None
"""


def test_executors_of_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "our_executors.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(function: str) -> Config:
        site = read_site("delta", settings={"site.python": function})
        return parsl_config(site, tmp_path, UNWATCHED)

    config = made("our_executors:pools")
    assert [executor.label for executor in config.executors] == ["cpu", "gpu", "mpi"]
    assert "running our_executors:pools" in capsys.readouterr().err
    for function in ("our_executors:gone", "no_such_module_here:pools", "our_executors:other",
                     "our_executors:nothing"):  # fmt: skip
        with pytest.raises(InputError, match=function):
            made(function)
    with pytest.raises(InputError, match="not run to be shown"):
        render(read_site("delta", settings={"site.python": "our_executors:pools"}))
    sys.modules.pop("our_executors", None)
