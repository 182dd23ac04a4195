"""What the measurement of servers on Kubernetes stands on: hubs, fake nodes, reading."""
