"""Tests of the back-fill."""
