"""The community catalogue of the local federation: a STAC API with Transactions.

``python -m cscale_hub.local.catalogue --config FILE.json`` serves it. One HTTP layer
(:mod:`~cscale_hub.local.catalogue.application`, on stac-fastapi) stands on one of two stores:
pgstac on a private PostgreSQL cluster, or SQLite with an R*Tree where PostgreSQL or PostGIS is
missing. Both give the same answers, and the same tests run against both.

Reading is open to every process of this machine, as in a public catalogue; writing needs an
access token of the federation's issuer and membership of an accepted virtual organisation.
"""
