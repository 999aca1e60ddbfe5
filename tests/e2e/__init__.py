"""What an owner does in a browser: real Home Assistant, real frontend, real sockets."""
