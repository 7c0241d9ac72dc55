"""What holds for all tests: no example of hypothesis fails by the time that it took."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
