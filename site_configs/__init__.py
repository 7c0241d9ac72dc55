"""Site files: one TOML per cluster, data and no code."""
