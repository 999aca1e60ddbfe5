"""Tests of the updater: images, requests, and whole updates."""
