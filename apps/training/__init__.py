"""Training of potentials: on the teacher's structures, then on labels; data-parallel, resumable."""
