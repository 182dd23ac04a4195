"""Shared notebooks in the user's server: what is asked of :mod:`cscale_core.notebooks`, and shown.

* :mod:`~cscale_server.sharing.models`: bodies of requests and answers;
* :mod:`~cscale_server.sharing.service`: the user's file browser and the library, put together;
* :mod:`~cscale_server.sharing.held`: the secrets of this server, which no notebook may hold;
* :mod:`~cscale_server.sharing.link` and :mod:`~cscale_server.sharing.page`: a link that can be
  copied, and what it opens.
"""
