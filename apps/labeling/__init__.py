"""Labelling: energies and forces of few structures from an expensive method, or from a file."""
