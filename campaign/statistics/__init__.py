"""Statistics of failures: rates, survival, arms compared, how many replicas are needed."""
