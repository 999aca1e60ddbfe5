"""The blueprints in a Home Assistant that is stopped, or killed, and started again."""
