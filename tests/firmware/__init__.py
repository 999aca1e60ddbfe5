"""Tests of firmware in Home Assistant: the kept image, and the updates of a meter."""
