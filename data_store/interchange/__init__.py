"""Structures in the formats of others: one file for each format, one registry.

Nothing of a foreign library is loaded until a file of its format is opened.
"""
