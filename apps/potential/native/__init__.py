"""Sums over pairs of atoms in C++, as operators of torch: what makes a core fast.

`messages.cpp` is compiled where it runs, for the machine it runs on. What it gives is
what a potential gives on its other batches; it knows nothing of weights or layers.
"""
