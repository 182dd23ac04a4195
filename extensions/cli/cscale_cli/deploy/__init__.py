"""``cscale deploy``: the hub and its companions on a Kubernetes cluster, by helm."""
