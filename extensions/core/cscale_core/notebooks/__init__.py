"""Notebooks that the members of a virtual organisation share: publishing, looking, opening.

Published notebooks are objects below ``shared/published/<slug>/`` of the VO's bucket. Who may write
where is the object store's business, which enforces the session policies of the hub; nothing here
is trusted because of where it runs. What others published is foreign: it is validated, bounded and
sanitised before anybody sees it, and never runs before its reader has a copy of their own.

* :mod:`~cscale_core.notebooks.places`: references, keys, and what the user may do in which VO;
* :mod:`~cscale_core.notebooks.card`: what is told of one version (title, provenance, …);
* :mod:`~cscale_core.notebooks.answers`: what is told of them;
* :mod:`~cscale_core.notebooks.documents`: reading, stripping and stamping notebooks;
* :mod:`~cscale_core.notebooks.scanning`: secrets that must not be published;
* :mod:`~cscale_core.notebooks.preview` and :mod:`~cscale_core.notebooks.pictures`: safe to look at;
* :mod:`~cscale_core.notebooks.shelf`: the objects of one bucket, as versions of notebooks;
* :mod:`~cscale_core.notebooks.library`: what a user does with all of it.
"""
