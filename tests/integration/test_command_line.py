"""The command line: exit codes, messages that say what to do, no traceback for a user's mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.sampling.teacher import PARAMETRISED, TEACHERS
from campaign.campaign import Campaign
from data_store.extxyz import write_extxyz
from data_store.structures import Structures
from tests.e2e.tiny import TINY

Run = Any


def tiny(folder: Path, text: str = TINY) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "campaign.toml").write_text(text)
    return str(folder)


IMPORTED = """
[campaign]
name = "imported"
[system]
smiles = "O"
[labels]
source = "file"
file = "labels.extxyz"
test_count = 2
[pretraining]
ranks = 1
[finetuning]
pools = [8]
[dynamics]
replicas = 2
"""
WATER = np.array([[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])


def labels(path: Path, count: int = 12, numbers: tuple[int, ...] = (8, 1, 1)) -> None:
    x = WATER + 0.01 * np.random.default_rng(0).normal(size=(count, 3, 3))
    forces = np.zeros_like(x)
    write_extxyz(
        path, Structures.from_dense(np.array(numbers), x, energies=np.zeros(count), forces=forces)
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "tiny"', 'name = "tiny', "not valid TOML"),
        ("structures = 128", "structurs = 128", "did you mean 'structures'"),
        ("structures = 128", "structures = -1", "sampling.structures = -1"),
        ("structures = 128", 'structures = "many"', "sampling.structures = 'many'"),
        ('smiles = "O"', 'smiles = "C(("', "cannot read this"),
        (
            'smiles = "O"\n\n[sampling]',
            'smiles = "[H][H]"\n\n[sampling]\nforce_field = "mmff94"',
            "cannot type H2",
        ),
        ('smiles = "O"', "", "either smiles or xyz"),
        ('smiles = "O"', 'xyz = "gone.xyz"', "no such file"),
        ('functional = "PBE"', 'functional = "PEB"', "PySCF knows no such functional"),
        ('basis = "STO-3G"', 'basis = "STO-33G"', "labels.basis"),
        ("pools = [8]", "pools = [8, 200]", "must fit into"),
        ("pools = [8]", "pools = [5]", "none are left to train on"),
        ("candidates = 24", "candidates = 13", "distinct"),
        ("ranks = 2", "ranks = 9", "each rank needs a structure"),
        ('smiles = "O"', 'smiles = "O"\nmultiplicity = 2', "10 electrons have an odd one"),
        ("length_ps = 0.5", 'length_ps = 0.5\ncriteria = ["explodes"]', "dynamics.criteria"),
        ("timestep_fs = 0.5", "timestep_fs = 0.3", "whole number of time steps"),
        ("[campaign]", "[campain]\n[campaign]", "did you mean 'campaign'"),
        ("seed = 5", 'seed = 5\nforce = "mmff"', "unknown key"),
    ],
)
def test_bad_campaign_files_are_refused(
    run: Run, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in TINY
    folder = tiny(tmp_path / "c", TINY.replace(old, new))
    code, _, err = run("validate", folder)
    assert code == 2
    assert expected in err
    assert run("launch", folder)[0] == 2
    assert not (tmp_path / "c" / "workspace" / "parts" / "sample").exists()


def test_all_errors_come_at_once(run: Run, tmp_path: Path) -> None:
    text = TINY.replace("steps = 250", "stepps = 250").replace("count = 12", "count = 0")
    code, _, err = run("validate", tiny(tmp_path, text))
    assert code == 2
    assert "2 problems" in err
    assert "did you mean 'steps'" in err
    assert "labels.count = 0" in err


def test_a_good_file_is_valid(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("validate", tiny(tmp_path), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["items"]["label"] == 12
    assert found["items"]["simulate"] == 4


def test_validate_says_how_many_replicas_are_needed(run: Run, tmp_path: Path) -> None:
    def power(*assignments: str) -> dict[str, Any]:
        code, out, _ = run("validate", folder, "--json", *assignments)
        assert code == 0
        return dict(json.loads(out)["power"])

    folder = tiny(tmp_path)
    usual, wider = power(), power("--set", "comparison.rate_ratio=50")
    assert usual["replicas_needed"] > wider["replicas_needed"]
    assert not usual["enough"]
    assert "too few" in run("validate", folder)[1]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda p: None, "12 label"),
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_text("hello"), "not valid extended xyz"),
        (lambda p: p.write_text(p.read_text().replace(":forces:R:3", ":velo:R:3")), "no forces"),
        (
            lambda p: p.write_text(p.read_text().replace("energy=0.0", "nothing=0.0", 1)),
            "no energy",
        ),
        (lambda p: p.write_text(p.read_text().replace(" 0.0\n", " nan\n", 1)), "is not finite"),
        (lambda p: labels(p, numbers=(1, 8, 8)), "labels are of"),
    ],
    ids=["good", "absent", "no xyz", "no forces", "no energy", "nan", "another molecule"],
)
def test_bad_labels_are_refused(run: Run, tmp_path: Path, damage: Any, expected: str) -> None:
    folder = tiny(tmp_path / "c", IMPORTED)
    path = tmp_path / "c" / "labels.extxyz"
    labels(path)
    damage(path)
    code, _, err = run("validate", folder)
    if expected == "12 label":
        assert code == 0, err
        return
    assert code == 2
    assert expected in err


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("finetuning.pools=[13]", "a pool of 13 labels and 2 for testing"),
        ("dynamics.replicas=5", "and there are 4"),
    ],
)
def test_too_few_labels_are_said_before_anything_runs(
    run: Run, tmp_path: Path, setting: str, expected: str
) -> None:
    folder = tiny(tmp_path / "c", IMPORTED)
    labels(tmp_path / "c" / "labels.extxyz")
    for verb in ("validate", "launch"):
        code, _, err = run(verb, folder, "--set", setting)
        assert code == 2
        assert expected in err
    assert not (tmp_path / "c" / "workspace" / "parts" / "sample").exists()


def test_import_brings_labels_to_their_place(run: Run, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "c", IMPORTED)
    labels(tmp_path / "mine.extxyz")
    assert run("validate", folder)[0] == 2
    code, out, _ = run("import", folder, str(tmp_path / "mine.extxyz"))
    assert code == 0
    assert "12 structures of H2O" in out
    assert run("validate", folder)[0] == 0
    assert run("import", folder, str(tmp_path / "mine.extxyz"))[0] == 0, "the same file again"
    labels(tmp_path / "other.extxyz", count=13)
    code, _, err = run("import", folder, str(tmp_path / "other.extxyz"))
    assert code == 2
    assert "holds other labels" in err
    code, _, err = run("import", folder, str(tmp_path / "mine.extxyz"), "--as", "test")
    assert code == 2
    assert "test_file" in err


def test_another_campaigns_workspace_is_refused(run: Run, tmp_path: Path) -> None:
    owner = Campaign.read(tiny(tmp_path / "a"))
    from campaign.freezing import freeze

    owner.workspace.prepare()
    freeze(owner.workspace, owner.spec)
    other = tiny(tmp_path / "b", TINY.replace('name = "tiny"', 'name = "other"'))
    code, _, err = run("launch", other, "--workspace", str(owner.workspace.root))
    assert code == 2
    assert "belongs to campaign 'tiny', not to 'other'" in err


def test_a_workspace_that_cannot_be_written_can_be_resumed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = run("launch", tiny(tmp_path / "c"), "--workspace", str(tmp_path / "file"))
    assert code == 3
    assert "--workspace" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_a_workspace_error(tmp_path: Path) -> None:
    from campaign.ledger import Ledger
    from data_store.errors import WorkspaceError

    path = tmp_path / "ledger.jsonl"
    path.symlink_to("/dev/full")
    with Ledger(path) as ledger, pytest.raises(WorkspaceError, match="No space left"):
        ledger.write("anything")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("init", "quickstrat"), "did you mean 'quickstart'"),
        (("launch", "nowhere"), "campaign init"),
        (("status", "nowhere"), "campaign init"),
        (("launch", "{tiny}", "--site", "frontir"), "did you mean 'frontier'"),
        (("launch", "{tiny}", "--site", "frontier"), "to be filled in: pools.cpu.account"),
        (("launch", "{tiny}", "--site", "gone.toml"), "a site by name: delta"),
        (("launch", "{tiny}", "--set", "dynamics.replicas"), "KEY=VALUE"),
        (("launch", "{tiny}", "--set", "dynamics.replica=3"), "did you mean 'replicas'"),
        (("launch", "{tiny}", "--set", "dynamics.replicas.x=3"), "is a value, not a table"),
        (("status", "{tiny}"), "no campaign was launched"),
        (("report", "{tiny}"), "no campaign was launched"),
        (("export", "{tiny}", "lables", "--to", "x.extxyz"), "did you mean 'labels'"),
    ],
)
def test_mistakes_are_answered(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    folder = tiny(tmp_path / "c")
    code, _, err = run(*(a.replace("{tiny}", folder) for a in arguments))
    assert code == 2
    assert expected in err


def test_errors_are_json_when_asked(run: Run) -> None:
    code, _, err = run("validate", "nowhere", "--json")
    assert json.loads(err)["exit_code"] == code == 2


def test_init_writes_a_template_and_never_over_another(run: Run, tmp_path: Path) -> None:
    folder = str(tmp_path / "q")
    assert run("init", "quickstart", "--dir", folder)[0] == 0
    assert run("init", "quickstart", "--dir", folder)[0] == 0
    assert run("init", "aspirin", "--dir", folder)[0] == 2
    assert 'name = "quickstart"' in (tmp_path / "q" / "campaign.toml").read_text()
    assert run("validate", folder)[0] == 0


def test_set_lays_values_over_the_file(run: Run, tmp_path: Path) -> None:
    folder = tiny(tmp_path)
    assert run("validate", folder, "--set", "labels.count=13")[0] == 0
    code, _, err = run("validate", folder, "--set", "labels.count=3")
    assert code == 2
    assert "finetuning.pools" in err


def test_teachers_are_listed_with_what_is_known_of_them(run: Run) -> None:
    code, out, _ = run("teachers", "--json")
    assert code == 0
    listed = json.loads(out)["teachers"]
    names = [entry["name"] for entry in listed]
    assert names[: len(TEACHERS)] == list(TEACHERS)
    assert names[-len(PARAMETRISED) :] == list(PARAMETRISED)
    for entry in (entry for entry in listed if entry["name"] in {*TEACHERS, *PARAMETRISED}):
        assert entry["reference"].startswith("doi:10."), entry
        assert "not stated" not in entry.values()
        assert "knows_it" not in entry
    code, out, _ = run("teachers")
    assert code == 0
    assert all(name in out for name in (*TEACHERS, *PARAMETRISED))


@pytest.mark.parametrize(
    ("smiles", "auto", "reason", "knowing"),
    [
        ("CO", "mmff94", "MMFF94 has parameters", {"mmff94", "mmff94s", "gfnff", "uff"}),
        ("O", "q-spc-fw", "made for this molecule", set(TEACHERS)),
        ("O=O", "gfnff", "MMFF94 cannot type O2", {"gfnff", "uff", "morse"}),
    ],
)
def test_teachers_of_a_molecule(
    run: Run, smiles: str, auto: str, reason: str, knowing: set[str]
) -> None:
    found = json.loads(run("teachers", smiles, "--json")[1])
    assert found["auto"] == auto
    assert reason in found["reason"]
    assert {e["name"] for e in found["teachers"] if e["name"] in TEACHERS and e["knows_it"]} == (
        knowing
    )
    code, out, _ = run("teachers", smiles)
    assert code == 0
    assert f": {auto}, " in out


def test_teachers_of_no_molecule_are_refused(run: Run) -> None:
    code, _, err = run("teachers", "C((")
    assert code == 2
    assert "cannot read this" in err


def test_the_page_of_teachers_has_a_row_for_each() -> None:
    page = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
    rows = {
        line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `")
    }
    references = {name: kind.reference for name, kind in TEACHERS.items()}
    references |= {name: kind.reference for name, kind in PARAMETRISED.items()}
    for name, reference in references.items():
        assert reference.split(";")[0].split(" (")[0] in page
        assert name in rows
