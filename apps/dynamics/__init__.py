"""Dynamics: ensembles of long runs, watched for failure."""
