"""The dialogs of the config flow and the options flow, one module per subject."""
