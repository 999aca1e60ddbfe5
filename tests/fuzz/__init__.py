"""Random and damaged bytes for everything that reads bytes: scripts/fuzz --help."""
