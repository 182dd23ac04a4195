"""What runs on each node of a cluster: it shows every server the places of its person.

``python -m cscale_hub.node``, in a privileged container of a DaemonSet.
"""
