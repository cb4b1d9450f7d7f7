"""The terminal UI: a client of the control API and of nothing else."""
