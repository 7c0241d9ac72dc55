"""A part is there whole or not at all, says what it holds, and refuses another unit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

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


DTYPES = ["?", "u1", "<i2", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8", ">f8"]


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES), rows=st.sampled_from([0, 1, 7, 1000, 20_000, 70_001]),
    tail=st.sampled_from([(), (3,), (3, 3)]), zeros=st.booleans(),
)  # fmt: skip
def test_plain_zarr_reads_every_kind_of_column(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    rows: int,
    tail: tuple[int, ...],
    zeros: bool,
) -> None:
    values = np.random.default_rng(rows).integers(0, 1 if zeros else 100, (rows, *tail))
    values[: rows // 2] = 0  # chunks of zeros alone are not stored
    values = values.astype(dtype)
    part = write_part(tmp_path_factory.mktemp("p"), "any", PRINT, {"x": Column(values)}, {})
    array = zarr.open_group(str(part.path / "data.zarr"), mode="r")["x"]
    assert isinstance(array, zarr.Array)
    found = np.asarray(array[:])
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype.newbyteorder("<")
    np.testing.assert_array_equal(part.read("x", ""), values)
    assert len([p for p in part.path.rglob("c*") if p.is_file()]) <= 1, "one file per array"


def test_what_lies_on_disk_does_not_decide_identity(tmp_path: Path) -> None:
    """Samples were laid out by an earlier version: other shards, other keys of chunks."""
    root = Path(__file__).parents[1] / "samples" / "parts-schema-1"
    samples = [open_part(manifest.parent) for manifest in root.rglob("manifest.json")]
    assert samples
    for sample in samples:
        columns = {name: Column(sample.read(name, u), u) for name, u in sample.units.items()}
        content = {
            name: sample.file(name).read_bytes() for name in sample.manifest["content_files"]
        }
        again = write_part(
            tmp_path, sample.stage, sample.fingerprint, columns, sample.metadata, files=content
        )
        assert again.digest == sample.digest


def test_a_part_that_was_moved_away_is_not_read_as_zeros(tmp_path: Path) -> None:
    part = write(tmp_path)
    arrays = part.arrays({"energy": "eV"})
    part.path.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is gone"):
        arrays.read({"energy": slice(0, 10)})


def test_many_writers_without_locks_leave_one_whole_part_each(tmp_path: Path) -> None:
    """Processes that start at once: parts of their own, and one part that all of them make."""
    code = (
        "import sys, numpy as np; from pathlib import Path; from data_store.columns import Column;"
        "from data_store.parts import write_part; root, own = Path(sys.argv[1]), int(sys.argv[2]);"
        "[write_part(root, 'sample', f'{print:064d}', {'x': Column(np.arange(1000.0) + print)}, {})"
        " for print in [*range(10 * own, 10 * own + 5), 999]]"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(own)]) for own in range(4)
    ]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    names = [path.name for path in (tmp_path / "sample").iterdir()]
    prints = [10 * own + i for own in range(4) for i in range(5)]
    assert sorted(names) == [f"{number:064d}" for number in [*prints, 999]]
    for number in (*prints, 999):
        part = open_part(tmp_path / "sample" / f"{number:064d}")
        assert not verify_part(part)
        np.testing.assert_array_equal(part.read("x", ""), np.arange(1000.0) + number)


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
