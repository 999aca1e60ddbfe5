# Sourced by other scripts: the newest Home Assistant that all of this works with.
newest=2026.11.0
