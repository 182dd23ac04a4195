"""The researcher's whole journey, walked over HTTP as a user would: ``cscale demo``."""
