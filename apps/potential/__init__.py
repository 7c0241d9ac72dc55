"""Machine-learned potentials: energies of structures, forces by differentiation."""
