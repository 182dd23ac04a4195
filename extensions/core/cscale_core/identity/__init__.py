"""Who a person is: entitlements, virtual organisations, the short name, and tokens on demand.

``entitlements`` and ``slug`` are the one part of core that the hub imports too: the rules that
decide who may do what exist once. :func:`connect` is what notebooks use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openeo


def connect(backend: str = "") -> openeo.Connection:
    """A connection to one of the site's openEO back ends, logged in as the user.

    The token is fetched for each request, so a notebook that stays open for days never holds an
    expired one. Needs the package ``openeo`` (extra ``lab``).

    :param backend: id of the back end in the site file; empty: the first.
    :raises NotFound: when the site has no back end of that id.
    :raises InvalidInput: when there is no site file or it names no back end.
    :raises LoginRequired: at a request, when the user's session has ended.
    """
    # Here, because the hub imports this package and not the client.
    from cscale_core.identity.openeo_login import connection

    return connection(backend)
