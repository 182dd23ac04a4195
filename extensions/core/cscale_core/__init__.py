"""The domain of C-SCALE Hub in plain, typed Python: catalogues, staging, jobs, workflows.

Nothing here knows tornado, widgets or Kubernetes. Imports go one way: ``errors``, ``site``,
``addresses``, ``identity`` and ``grids`` are the ground; ``catalog``, ``ingest`` and ``jobs`` stand
on them; ``workflows`` is on top.
"""

__version__ = "0.1.0"
