"""The update session at real sockets; others' code reads its requests."""
