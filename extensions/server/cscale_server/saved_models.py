"""The bodies of requests and answers of what a person keeps; as :mod:`cscale_server.models`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from cscale_core.saved.notices import Notice
from cscale_core.saved.store import Favourite, SavedSearch, SearchContent
from cscale_server.models import Ref, Request


class SavedSearches(BaseModel):
    """The user's searches, by name."""

    searches: list[SavedSearch]


class SearchChange(SearchContent):
    """What takes the place of a search."""

    revision: int = Field(ge=1, description="That it is thought to have.")

    def content(self) -> SearchContent:
        """Without the revision."""
        return SearchContent(name=self.name, query=self.query, view=self.view)


class Favourites(BaseModel):
    """The user's favourite items, the latest first."""

    favourites: list[Favourite]


class FavouriteRequest(Request):
    """An item to be kept in view, by its reference in the federation."""

    ref: Ref
    title: str = Field(default="", max_length=300)


class NoticeList(BaseModel):
    """Jobs that have ended, the latest first."""

    notices: list[Notice]


class SeenRequest(Request):
    """Jobs whose notices somebody has seen."""

    jobs: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=1000)
