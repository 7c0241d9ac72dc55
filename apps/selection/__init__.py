"""Selection: which structures are labelled, trained on, and started from."""
