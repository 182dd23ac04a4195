"""Site B: a read-only STAC archive and its files, so that there is a federation to search."""
