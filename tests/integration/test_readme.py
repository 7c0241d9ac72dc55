"""What the README tells users to type exists: its commands, its script, its verbs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import typer

from campaign.cli.main import app
from campaign.templates import templates

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_it_opens_with_the_two_commands() -> None:
    first = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)[0]
    assert [line.split("#")[0].strip() for line in first.strip().splitlines()] == [
        "make launch", "make test"
    ]  # fmt: skip


def test_its_verbs_and_templates_exist() -> None:
    command = typer.main.get_command(app)
    verbs = set(getattr(command, "commands", {}))
    assert set(re.findall(r"`?campaign (\w+) (?:FOLDER|TEMPLATE|my-)", README)) <= verbs
    assert verbs == set(re.findall(r"\| `campaign (\w+)", README))
    assert set(re.findall(r"campaign init (\w+) --dir", README)) - {"TEMPLATE"} <= set(templates())


def test_its_script_is_ten_lines_and_names_what_exists() -> None:
    (script,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    tree = ast.parse(script)
    assert len([line for line in script.splitlines() if line.strip()]) <= 10
    from campaign import Campaign

    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for name in ("from_template", "with_settings", "launch"):
        assert name in called
        assert hasattr(Campaign, name)
