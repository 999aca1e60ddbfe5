"""Tests of the simulated meter."""
