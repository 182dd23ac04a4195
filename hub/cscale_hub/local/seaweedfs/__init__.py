"""The object store of the one-machine federation: SeaweedFS with STS, on loopback, sealed.

``config`` says what is asked for, ``iam`` and ``seal`` write what weed reads, ``launcher`` starts
weed, creates the buckets and watches it. Run as ``python -m cscale_hub.local.seaweedfs``.
"""
