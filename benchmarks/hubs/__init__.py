"""What ``benchmarks.hub`` starts: a hub of ours and a plain one, at the same issuer."""
