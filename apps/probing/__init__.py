"""Probes without dynamics: where a potential's walls are too low, from single energies."""
