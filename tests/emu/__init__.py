"""Tests of the meter's own package."""
