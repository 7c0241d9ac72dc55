"""Campaigns: teach a potential from a force field, refine it, and measure how often it fails."""
