"""The identity provider of the one-machine federation, shaped like EGI Check-in (Keycloak).

It is an OpenID Connect provider on authlib's OAuth 2 server, for demonstrations and tests. It
serves loopback addresses only; a deployment on a network uses EGI Check-in itself.
"""
