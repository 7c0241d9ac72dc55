"""All that is wrong with a settings file, at once, in words.

Pydantic finds the errors; this turns each into one `Problem`: the key, the value that came, what
was expected, and, for a key that does not exist, the nearest that does. Used by campaign files and
site files alike.
"""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from data_store.errors import InputError

__all__ = ["Problem", "problems_of", "read_toml", "refuse"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Parameters
    ----------
    key : str
        Dotted path of the key.
    value : str
        What came, shortened.
    expected : str
        What would have been accepted.
    """

    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.expected}"


_START = "`campaign init quickstart --dir NAME` writes a campaign to start from"


def read_toml(path: Path, if_absent: str = _START) -> dict[str, Any]:
    """Tables of a TOML file.

    Parameters
    ----------
    path : Path
    if_absent : str
        What to do where it cannot be read.

    Raises
    ------
    InputError
        If the file is absent, unreadable or no TOML; the message names line and column.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", if_absent) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}", "mend that line") from error


def refuse(source: str, problems: Sequence[Problem]) -> InputError:
    """One error that lists every problem."""
    count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
    return InputError(f"{source}: {count}\n" + "\n".join(f"  - {p}" for p in problems))


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Problems behind a validation error of `model`."""
    return [_problem(details, model) for details in error.errors(include_url=False)]


def _problem(details: Any, model: type[BaseModel]) -> Problem:
    where = tuple(step for step in details["loc"] if not _is_branch(step))
    key = ".".join(str(step) for step in where) or "(whole file)"
    value = repr(details["input"])
    value = value if len(value) < 80 else value[:77] + "..."
    if details["type"] == "extra_forbidden":
        return Problem(key, value, _unknown_key(where, model))
    return Problem(key, value, _expected(details))


def _is_branch(step: object) -> bool:
    """Whether a step of pydantic's path names a branch of a union, which no user wrote."""
    return isinstance(step, str) and ("[" in step or step in {"str", "int", "float", "Path"})


def _expected(details: Any) -> str:
    message = str(details["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return "required, but missing" if details["type"] == "missing" else message


def _unknown_key(where: Sequence[str | int], model: type[BaseModel]) -> str:
    valid = sorted(_keys_at(model, where[:-1]))
    near = difflib.get_close_matches(str(where[-1]), valid, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key; {hint}valid here: {', '.join(valid)}"


def _keys_at(model: type[BaseModel], path: Sequence[str | int]) -> set[str]:
    for step in path:
        if step not in model.model_fields:
            continue  # a place in a list, or a name that the user chose
        inner = next(_models_in(model.model_fields[str(step)].annotation), None)
        if inner is None:
            return set()
        model = inner
    return set(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)
