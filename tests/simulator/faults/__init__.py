"""Each simulated fault has the effect of its description."""
