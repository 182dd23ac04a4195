"""What runs a job: one module an engine, all with the one method of :class:`Engine`."""
