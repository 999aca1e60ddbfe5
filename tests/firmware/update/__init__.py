"""The updates of a meter's firmware, as its owner sees them."""
