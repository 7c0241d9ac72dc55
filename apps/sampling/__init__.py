"""Sampling: cheap force-field structures of a molecule, many of them deliberately unreasonable."""
