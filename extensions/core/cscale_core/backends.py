"""What an openEO back end is: where its API is and how to log in; and those that are shipped.

The hub's settings and the site file of a user's server are this one model. The shipped entries are
the back ends of the federation, known by name and off until an operator turns one on.

Nothing here is secret: a login names its source, never the password.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

BACKEND_ID = r"^[A-Za-z0-9._-]+$"


class OpenEOBackend(BaseModel):
    """One openEO back end the user may submit to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=BACKEND_ID, description="Name by which jobs refer to it.")
    title: str = Field(description="Name shown to people.")
    url: str = Field(description="Root of the openEO API; versions are discovered from it.")
    audience: str = Field(default="", description="Audience of the token; empty: no broker token.")
    auth: Literal["auto", "broker", "stored", "basic", "none"] = Field(
        default="auto",
        description="broker: token of EGI Check-in, of the audience; stored: the login kept by "
        "`openeo-auth oidc-auth`; basic: user name and password of ~/.netrc; auto: the first of "
        "them for which there is something.",
    )
    provider: str = Field(
        default="egi", description="Id of the identity provider at the back end, if OIDC."
    )
    every: float | None = Field(
        default=None,
        ge=0.5,
        description="Seconds between two looks at young jobs while they are few; none: what suits "
        "a back end that many use. Short ones are for a back end of your own.",
    )

    @property
    def by_the_hub(self) -> bool:
        """Whether the hub's login is used there."""
        return bool(self.audience) or self.auth == "broker"

    @property
    def by_code(self) -> bool:
        """Whether somebody may log in there by a code, if it offers that."""
        return not self.by_the_hub and self.auth in ("auto", "stored")


@cache
def shipped_backends() -> Mapping[str, OpenEOBackend]:
    """The back ends of the federation by id; none is used unless it is turned on."""
    text = files("cscale_core").joinpath("backends.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["backends"]
    return {entry["id"]: OpenEOBackend.model_validate(entry) for entry in entries}
