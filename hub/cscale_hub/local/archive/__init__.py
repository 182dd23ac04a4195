"""Site B: a read-only STAC archive with its files, so that one machine has a federation to search."""
