"""The page on which a person chooses a server: plain HTML that works without scripts.

One group of radio buttons for each VO; each choice says what it is for, what it costs and what
there is now. Colours are those of JupyterHub's page, so light and dark follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from cscale_hub.profiles import Offer
from cscale_hub.quotas import Used, words
from cscale_hub.vo_model import Quota

# Everything is escaped: titles and purposes come from a file, but they are text all the same.
_TEMPLATES = Environment(
    loader=PackageLoader("cscale_hub"), autoescape=True, undefined=StrictUndefined
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice on the page.

    :param available: what there is now, in words.
    :param refused: why it cannot be chosen now; empty when it can.
    """

    offer: Offer
    vo_title: str
    quota: Quota
    used: Used
    available: str
    refused: str

    @property
    def value(self) -> str:
        """What the form sends; neither part contains a colon."""
        return f"{self.offer.vo}:{self.offer.name}"


def choices_page(
    field: str, choices: Sequence[Choice], before: tuple[object, object] = (None, None)
) -> str:
    """The page's part, without the form and its button, which are JupyterHub's.

    :param field: name of the radio buttons.
    :param before: VO and profile of the last server, chosen again if it can be had.
    """
    possible = [choice for choice in choices if not choice.refused]
    again = (choice for choice in possible if (choice.offer.vo, choice.offer.name) == before)
    chosen = next(again, possible[0] if possible else None)
    groups = [
        (members[0].vo_title, vo, words(members[0].quota, members[0].used), members)
        for vo, members in (
            (vo, list(some)) for vo, some in groupby(choices, lambda each: each.offer.vo)
        )
    ]
    return _TEMPLATES.get_template("choose_server.html").render(
        field=field, groups=groups, chosen=chosen
    )
