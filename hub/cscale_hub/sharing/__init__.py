"""Running servers that people let others of their VO into, to edit notebooks together.

* :mod:`~cscale_hub.sharing.rule`: who may let whom into which server;
* :mod:`~cscale_hub.sharing.gate`: holds JupyterHub to it, whichever way a share is made;
* :mod:`~cscale_hub.sharing.servers`: ends shares that the rule no longer allows, and all of them
  with the server;
* :mod:`~cscale_hub.sharing.page`: where people do it;
* :mod:`~cscale_hub.sharing.publications`: what became of published notebooks, for the audit log;
* :mod:`~cscale_hub.sharing.editing`: editing together in JupyterLab, where the VO wants it.

Published notebooks are another matter (:mod:`cscale_core.notebooks`): they are copies, and nobody
is let in anywhere.
"""
