"""The hub: settings, login, spawning, the broker, and the local federation of one machine."""
