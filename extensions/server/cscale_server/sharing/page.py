"""The page of one shared notebook, which a copied link opens: to look at it, and to take a copy.

It needs no script and has none; its policy lets nothing load or run, whatever an author wrote.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from cscale_core.errors import CScaleError
from cscale_core.notebooks.answers import Shown


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    # Every value is text; the one that is HTML is sanitised by cscale_core.notebooks.preview.
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "page.html"
    )


def policy(nonce: str) -> str:
    """The Content-Security-Policy of the page."""
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def page_of(shown: Shown, *, nonce: str, xsrf: str) -> str:
    """The page of a notebook.

    :param xsrf: the hidden field of the form, HTML.
    """
    return _template().render(
        title=shown.notebook.title,
        shown=shown,
        nonce=nonce,
        xsrf=Markup(xsrf),  # noqa: S704
    )


def page_of_error(error: CScaleError, *, nonce: str, lab: str) -> str:
    """The page where there is none to be shown."""
    return _template().render(
        title=error.message, hint=error.hint, shown=None, nonce=nonce, lab=lab
    )
