"""Results of jobs as STAC items: one description for the files of every engine.

:mod:`files` says what each file is, :mod:`provenance` where it comes from, :mod:`items` puts both
into items that openEO's ``load_stac``, Spark applications and notebooks can load again,
:mod:`prefixes` does so for all files below a prefix, :mod:`sidecar` writes the job beside them.
"""
