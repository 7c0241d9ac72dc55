"""The command line: verbs, their output and their exit codes; no logic of a campaign."""
