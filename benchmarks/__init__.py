"""What things cost, compared side by side in one run."""

# Puts its own voluptuous in place, which must happen before anything imports one.
import homeassistant as homeassistant
