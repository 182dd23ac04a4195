"""Jobs: one model and one list over openEO, Spark and staging."""
