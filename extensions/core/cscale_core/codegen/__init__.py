"""Code for notebooks, made of what was chosen or computed in the panel."""
