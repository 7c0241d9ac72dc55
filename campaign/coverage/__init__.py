"""What a set of structures covers: energies, forces, contacts, bonds and duplicates, by blocks."""
