"""The plan: every part a campaign will make, fingerprinted before anything runs."""
