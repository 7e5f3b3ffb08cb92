"""Documents out of findings."""
