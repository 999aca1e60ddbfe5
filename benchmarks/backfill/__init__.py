"""The cost of filling years of statistics, beside its floors in the same run."""
