"""What becomes of labels that name reaction channels, in words, read from their file."""

from __future__ import annotations

from pathlib import Path

from campaign.spec.model import CampaignSpec

__all__ = ["channels_in_words"]


def channels_in_words(spec: CampaignSpec) -> str | None:
    """How many frames train, test and are left out, and why; None where no channels are named.

    Raises
    ------
    InputError
        If the file is unusable, or contradicts what is chosen.
    """
    from apps.labeling.channel_choice import read_channels

    labels = spec.labels
    if labels.channels is None or labels.file is None:
        return None
    _, _, choice = read_channels(Path(labels.file), **labels.choice())
    return f"channels ({labels.channels}): {choice.in_words()}"
