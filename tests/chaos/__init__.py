"""A site under random faults: real processes, and what must be true afterwards."""
