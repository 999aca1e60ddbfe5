"""The kept image: given by the owner or downloaded, stored, and forgotten."""
