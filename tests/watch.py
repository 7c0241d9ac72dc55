"""A watch over blocks for tests that have none: it records nothing and forbids nothing."""

from __future__ import annotations

from campaign.execution.blocks import BlockWatch

UNWATCHED = BlockWatch(lambda event, **fields: None, "campaign-test")
