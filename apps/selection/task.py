"""Selection on a node: which labels train, validate and test, and where dynamics starts.

Each pool has a split part of its own, which depends on its size alone, so that a further pool
recomputes nothing. Starts are held-out structures: no arm has trained on them, in either stage.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from apps.contract import Request, Result
from data_store.columns import Column
from data_store.errors import InputError
from data_store.parts import write_part
from data_store.structure_parts import read_structures, structures_to_columns

__all__ = ["split", "starts"]
