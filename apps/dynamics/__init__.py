"""Ensembles of molecular dynamics with a potential: batched replicas, failures found and coded."""
