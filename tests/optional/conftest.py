"""Tests with packages that extras bring: skipped with the reason, unless they are asked for."""

from __future__ import annotations

import os

import pytest

from apps.potential import mace
from tests.integration.test_simulate import parts

__all__ = ["mace_is_here", "parts"]


@pytest.fixture(scope="session", autouse=True)
def mace_is_here() -> None:
    """`make test-mace` sets MACE_REQUIRED: there its absence is a failure."""
    if mace.is_installed():
        return
    if os.environ.get("MACE_REQUIRED"):
        pytest.fail("mace-torch is not installed, and MACE_REQUIRED is set")
    pytest.skip("mace-torch is not installed (extra mace): `make test-mace` has an environment")
