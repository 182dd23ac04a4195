"""The domain of C-SCALE Hub in plain, typed Python: catalogues, staging, jobs, workflows.

Nothing here knows tornado, widgets or Kubernetes. Imports go one way: ``errors``, ``site``,
``addresses``, ``identity`` and ``grids`` are the ground; ``catalog`` and ``ingest`` stand on them;
``workflows`` are what can be run, and ``jobs``, which runs them, is on top.
"""

__version__ = "0.1.0"
