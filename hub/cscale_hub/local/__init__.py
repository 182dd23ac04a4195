"""The local federation: everything the hub needs, on one machine, on loopback, from one command."""
