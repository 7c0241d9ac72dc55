"""Structures, labels and runs, kept as immutable Zarr parts in one unit system.

The lowest layer: it knows numpy, zarr and tensorstore, and neither apps nor campaign. Inside:
eV, Å, fs, amu, e, K.
"""
