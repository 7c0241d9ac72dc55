"""The campaign file: what a user writes, read strictly."""
