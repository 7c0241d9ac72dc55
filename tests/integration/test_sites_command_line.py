"""``campaign sites``: each verb, its JSON, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from campaign.sites.layers import layered_site, packaged_sites
from tests.unit.test_sites_detect import CLUSTER

Run = Callable[..., tuple[int, str, str]]

BROKEN = (
    '[site]\nname = "broken"\nscheduler = "slurm"\n[pools.cpu]\nwalltime = "soon"\nmaxblocks = 1\n'
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "config" / "campaign" / "sites"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs ``sinfo`` and ``scontrol`` on PATH that answer as a cluster would."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sinfo", "partitions", "nodes", "config"):
        (folder / f"{name}.txt").write_text(getattr(CLUSTER, name))
    script = f"#!/bin/sh\nfor last; do :; done\ncat {folder}/"
    (folder / "sinfo").write_text(f"{script}sinfo.txt\n")
    (folder / "scontrol").write_text(
        f"{script}$(echo $last | sed 's/partition/partitions/; s/node/nodes/').txt\n"
    )
    for name in ("sinfo", "scontrol"):
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_list_shows_every_site_and_hides_none_that_is_broken(run: Run, home: Path) -> None:
    (home / "broken.toml").write_text(BROKEN)
    (home / "delta.toml").write_text('[pools.cpu]\naccount = "a"\n')
    code, out, _ = run("sites", "list", "--json")
    assert code == 0
    found = {about["name"]: about for about in json.loads(out)["sites"]}
    assert set(found) == {*packaged_sites(), "broken"}
    assert "soon" in found["broken"]["problem"]
    assert found["delta"]["files"] == [str(packaged_sites()["delta"]), str(home / "delta.toml")]
    assert found["delta"]["blanks"] == ["pools.gpu.account", "pools.mpi.account"]
    assert [name for name, about in found.items() if about.get("tested")] == ["local"]
    code, out, _ = run("sites", "list")
    assert code == 0
    assert "broken          cannot be read" in out
    assert "frontier        slurm, not tested on the machine" in out


def test_show_tells_where_each_value_is_from(run: Run, tmp_path: Path, home: Path) -> None:
    (home / "delta.toml").write_text('[pools.cpu]\naccount = "a"\n')
    (tmp_path / "c" / "sites").mkdir(parents=True)
    (tmp_path / "c" / "sites" / "delta.toml").write_text("[pools.cpu]\nmax_blocks = 3\n")
    arguments = ("sites", "show", "delta", "--campaign", "c", "--set", "pools.gpu.account=b")
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    found = json.loads(out)
    origins = {value["key"]: (value["value"], value["origin"]) for value in found["values"]}
    assert origins["pools.cpu.account"] == ("a", str(home / "delta.toml"))
    assert origins["pools.cpu.max_blocks"] == (3, "c/sites/delta.toml")
    assert origins["pools.gpu.account"] == ("b", "--set")
    assert origins["pools.cpu.launcher"] == ("srun", "default")
    assert found["blanks"] == ["pools.mpi.account"]
    assert found["rendered"] is None
    code, out, _ = run(*arguments)
    assert code == 0
    assert "pools.cpu.max_blocks = 3 " in out
    assert "(c/sites/delta.toml)" in out


def test_show_renders_what_will_be_submitted(run: Run) -> None:
    code, out, _ = run("sites", "show", "polaris", "--rendered", "--json")
    assert code == 0
    found = json.loads(out)
    assert set(found["rendered"]) == {"cpu", "gpu", "mpi"}
    assert found["rendered"]["gpu"]["command"].startswith("qsub -q preemptable -A <account> ")
    assert "#PBS -l select=1:ncpus=32:ngpus=4" in found["rendered"]["gpu"]["script"]
    assert found["parsl_config"].startswith("Config(")
    code, out, _ = run("sites", "show", "polaris", "--rendered")
    assert code == 0
    assert "# pool mpi: qsub" in out
    assert "PBSProProvider(" in out


def test_check_tells_all_errors_or_that_it_is_valid(run: Run, home: Path) -> None:
    Path("mine.toml").write_text(BROKEN)
    code, _, err = run("sites", "check", "mine.toml")
    assert code == 2
    assert "'soon'" in err
    assert "did you mean 'max_blocks'" in err
    packaged = packaged_sites()["lumi"]
    code, out, _ = run("sites", "check", str(packaged), "--json")
    assert code == 0
    assert json.loads(out)["blanks"][0] == "pools.cpu.account"
    (home / "lumi.toml").write_text('[pools.cpu]\naccount = "a"\n')
    code, out, _ = run("sites", "check", str(home / "lumi.toml"))
    assert code == 0
    assert f"is valid, laid over {packaged}" in out
    assert "to fill in before a launch: pools.gpu.account, pools.mpi.account" in out


def test_new_writes_what_the_cluster_tells_and_never_over_a_file(
    run: Run, home: Path, cluster: Path
) -> None:
    code, out, _ = run("sites", "new", "hawk", "--detect", "--json")
    assert code == 0
    found = json.loads(out)
    path = home / "hawk.toml"
    assert found["file"] == str(path)
    assert layered_site("hawk").blanks == found["blanks"] != []
    written = path.read_text()
    code, _, err = run("sites", "new", "hawk", "--detect")
    assert code == 2
    assert "is there already" in err
    assert path.read_text() == written
    assert run("sites", "new", "hawk", "--detect", "--to", "other.toml")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "lummi"), "did you mean 'lumi'"),
        (("show", "lumi", "--set", "dynamics.replicas=3"), "no key of a site"),
        (("show", "lumi", "--set", "pools.cpu.walltme=3"), "did you mean 'walltime'"),
        (("check", "gone.toml"), "cannot read"),
        (("check", "site.txt"), "a site file is TOML"),
        (("new", "hawk"), "--detect"),
        (("new", "lumi", "--detect"), "comes with the package"),
        (("new", "../x", "--detect"), "a name is letters"),
        (("new", "hawk", "--detect", "--to", "hawk.txt"), "ends in .toml"),
        (("new", "hawk", "--detect"), "sinfo is not on PATH"),
    ],
)
def test_mistakes_are_answered(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run("sites", *arguments)
    assert code == 2
    assert expected in err
    assert not Path("hawk.txt").exists()


def test_a_scheduler_that_fails_is_told(run: Run, cluster: Path) -> None:
    (cluster / "scontrol").write_text("#!/bin/sh\necho no controller >&2\nexit 1\n")
    code, _, err = run("sites", "new", "hawk", "--detect")
    assert code == 2
    assert "no controller" in err
