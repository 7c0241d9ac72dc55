"""Site files: where a campaign runs, read strictly."""
