"""Simulated meters and whole Home Assistants as processes of their own."""
