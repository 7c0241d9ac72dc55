"""The report: what was found, as JSON for programs and as one HTML page for people."""
