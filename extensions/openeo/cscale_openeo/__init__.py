"""An openEO API 1.2 service that runs process graphs on Spark.

The service process (``python -m cscale_openeo``) stays light: it checks graphs, freezes inputs,
keeps jobs and hands out results. What computes is imported only by the batch application.
"""
