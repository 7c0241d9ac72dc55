"""`docs/sites.md` is true: tables are the models', examples read, machines are there."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from campaign.sites.driver_job import DriverJob
from campaign.sites.layers import layered_site, packaged_sites, read_site
from campaign.sites.site import BatchHeader, BatchPool, Pool, SiteHeader
from tests.unit import pages

PAGE = (pages.DOCS / "sites.md").read_text(encoding="utf-8")
SECTIONS = pages.sections(PAGE)

TABLES: dict[str, tuple[type[BaseModel], type[BaseModel] | None]] = {
    "`[site]`": (SiteHeader, None),
    "`[site]` of a cluster": (BatchHeader, SiteHeader),
    "`[pools.NAME]`": (Pool, None),
    "`[pools.NAME]` of a cluster": (BatchPool, Pool),
    "`[driver]` of a cluster": (DriverJob, None),
}


def rows(model: type[BaseModel], base: type[BaseModel] | None) -> list[str]:
    """Rows of a model's table, without the keys of what it derives from."""
    words = _docstrings(model)
    return [
        f"| `{name}` | {_default(field)} | {words[name]} |"
        for name, field in model.model_fields.items()
        if base is None or name not in base.model_fields
    ]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "unset" if field.default is None else f"`{json.dumps(field.default)}`"


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field in the source, on one line."""
    tree = ast.parse(Path(inspect.getfile(model)).read_text(encoding="utf-8"))
    body = next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == model.__name__
    )
    found = {}
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(below.value, ast.Constant)
            found[field.target.id] = " ".join(str(below.value.value).split()).replace("``", "`")
    return found


@pytest.mark.parametrize("heading", TABLES)
def test_each_table_is_its_models(heading: str) -> None:
    written = re.findall(r"^\| `.*$", SECTIONS[heading], flags=re.MULTILINE)
    assert written == rows(*TABLES[heading])


def test_the_example_reads(tmp_path: Path) -> None:
    (example,) = pages.blocks(PAGE, "toml").items()
    path = tmp_path / example[0]
    path.write_text(example[1], encoding="utf-8")
    found = layered_site(str(path))
    assert found.site.site.scheduler == "slurm"
    assert set(found.site.pools) == {"cpu", "gpu", "mpi"}
    assert not found.blanks


def test_each_machine_is_told_as_its_file_says() -> None:
    told = re.findall(r"^\| `(\w+)` \| (.*?) \|", SECTIONS["Public machines"], flags=re.MULTILINE)
    expected = {name: read_site(name).site.description for name in packaged_sites()}
    expected.pop("local")
    assert dict(told) == expected


def test_packaged_files_are_called_as_the_site() -> None:
    for path in packaged_sites().values():
        assert tomllib.loads(path.read_text(encoding="utf-8"))["site"]["name"] == path.stem
