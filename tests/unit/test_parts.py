"""A part is there whole or not at all, says what it holds, and refuses another unit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from data_store.columns import Column
from data_store.errors import StoreError, WorkspaceError
from data_store.parts import Part, find_part, open_part, verify_part, write_part

PRINT = "f" * 64


def write(root: Path, *, shift: float = 0.0, note: str = "") -> Part:
    columns = {"energy": Column(np.arange(10.0) + shift, "eV"), "index": Column(np.arange(10))}
    return write_part(
        root, "label", PRINT, columns, {"count": 10},
        files={"model.bin": b"weights"}, attachments={"log.txt": note.encode()},
        provenance={"note": note},
    )  # fmt: skip


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    part = write(tmp_path)
    np.testing.assert_array_equal(part.read("energy", "eV"), np.arange(10.0))
    np.testing.assert_array_equal(part.read("energy", "eV", 3, 5), [3.0, 4.0])
    assert part.read("energy", "eV", 8, 20).tolist() == [8.0, 9.0]
    assert part.shape("index") == (10,)
    assert part.metadata == {"count": 10}
    assert part.file("model.bin").read_bytes() == b"weights"
    assert verify_part(part) == []


def test_plain_zarr_reads_it(tmp_path: Path) -> None:
    part = write(tmp_path)
    group = zarr.open_group(str(part.path / "data.zarr"), mode="r")
    assert group["energy"].attrs["unit"] == "eV"
    np.testing.assert_array_equal(group["energy"][:], np.arange(10.0))


def test_another_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is in 'eV', not 'kcal/mol'"):
        write(tmp_path).read("energy", "kcal/mol")


def test_digest_is_of_content_alone(tmp_path: Path) -> None:
    first = write(tmp_path / "a", note="monday")
    second = write(tmp_path / "b", note="tuesday")
    other = write(tmp_path / "c", shift=1e-12)
    assert first.digest == second.digest != other.digest


def test_the_first_part_in_place_stays(tmp_path: Path) -> None:
    first = write(tmp_path, note="monday")
    second = write(tmp_path, note="tuesday")
    assert second.digest == first.digest
    assert second.provenance == first.provenance
    with pytest.raises(WorkspaceError, match=first.digest):
        write(tmp_path, shift=1.0)
    assert not verify_part(open_part(first.path))
    assert [p.name for p in (tmp_path / "label").iterdir()] == [PRINT]


def test_unfinished_part_is_no_part(tmp_path: Path) -> None:
    part = write(tmp_path)
    (part.path / "manifest.json").unlink()
    assert find_part(tmp_path, "label", PRINT) is None


@pytest.mark.parametrize("damage", ["data.zarr/energy/zarr.json", "model.bin"])
def test_verify_finds_damage(tmp_path: Path, damage: str) -> None:
    part = write(tmp_path)
    path = part.path / damage
    path.write_bytes(path.read_bytes() + b" ")
    assert any(damage in problem for problem in verify_part(part))


def test_verify_finds_missing_and_foreign_files(tmp_path: Path) -> None:
    part = write(tmp_path)
    (part.path / "model.bin").rename(part.path / "other.bin")
    problems = verify_part(part)
    assert "model.bin: missing" in problems
    assert "other.bin: not in the manifest" in problems


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    part = write(tmp_path)
    manifest = part.path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        open_part(part.path)


def test_a_torn_manifest_is_refused(tmp_path: Path) -> None:
    part = write(tmp_path)
    (part.path / "manifest.json").write_text('{"schema": 1, ')
    with pytest.raises(StoreError, match="unreadable"):
        open_part(part.path)


def test_a_refusing_file_system_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "label").write_text("a file where a folder is needed")
    with pytest.raises(WorkspaceError, match="launch again"):
        write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["label"]


@pytest.mark.parametrize("values", [np.array([object()]), np.array(["text"])])
def test_columns_hold_numbers_only(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(StoreError):
        write_part(tmp_path, "label", PRINT, {"bad": Column(values)}, {})
