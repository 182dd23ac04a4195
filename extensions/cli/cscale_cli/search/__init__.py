"""``cscale search``: one question to every archive of the federation, answered on the terminal."""
