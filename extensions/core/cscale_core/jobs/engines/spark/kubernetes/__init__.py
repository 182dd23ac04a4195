"""Spark on Kubernetes: one SparkApplication (v1beta2) a job, run by the Spark operator."""
