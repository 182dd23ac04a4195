"""The broker: short-lived access tokens and S3 credentials for users' servers.

A user's server asks with its JupyterHub token; the broker asks the hub who that is, exchanges the
access token the hub keeps for one with a single audience (RFC 8693), and for S3 trades that at the
object store's STS for credentials narrowed to the user's grants. Refresh tokens never come here
and never leave the hub. ``app`` speaks HTTP, ``issue`` decides, ``hub``, ``exchange`` and ``sts``
each know one upstream. Run as ``python -m cscale_hub.broker``.
"""
