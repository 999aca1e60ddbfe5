"""From the meter's data logger into Home Assistant's long-term statistics."""
