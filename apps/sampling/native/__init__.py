"""Batches of structures in C++: what makes a core of sampling fast.

`batches.cpp` is compiled where it runs (`apps.compiling`). Where it cannot be, RDKit and numpy give
the same to some last digits, several times slower; which of both was used is kept beside the digest
of what was made.
"""
