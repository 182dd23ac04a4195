"""What a person keeps of the catalogue: searches by name, and favourite items."""
