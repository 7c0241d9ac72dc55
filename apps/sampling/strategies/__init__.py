"""Strategies: how candidates are made from thermal frames; each pure and seeded."""
