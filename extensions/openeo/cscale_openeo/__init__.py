"""An openEO API service that runs process graphs on Spark."""
