"""``cscale jobs``: the one list of jobs, from a terminal."""
