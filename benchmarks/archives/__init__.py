"""Archives to measure against: STAC APIs in processes of their own, whose answers lie ready."""
