"""Where a job's files are, and how a job sees what the user names by one of our three addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cscale_core import addresses
from cscale_core.addresses import ObjectAddress
from cscale_core.errors import InvalidInput
from cscale_core.jobs.model import JobSpec
from cscale_core.site import Site


def output_prefix(site: Site, spec: JobSpec, job_id: str) -> str:
    """The ``s3://`` prefix that takes a job's files, with a slash at the end.

    :raises InvalidInput: when the user may not write there.
    """
    if not spec.output:
        grant = site.grant("home", spec.vo)
        return f"s3://{grant.bucket}/{grant.prefix}jobs/{job_id}/"
    # A prefix may be a whole bucket or grant: the name of a file in it makes it an object's.
    found = addresses.parse(spec.output.rstrip("/") + "/file", site)
    if found is not None:
        prefix = found.key.removesuffix("file")
        for grant in site.grants:
            inside = found.bucket == grant.bucket and prefix.startswith(grant.prefix)
            if inside and grant.access == "rw":
                return f"s3://{found.bucket}/{prefix}"
    raise InvalidInput(
        f"{spec.output} is no place you may write to.",
        hint="You may write to "
        + (
            ", ".join(f"s3://{grant.bucket}/{grant.prefix}" for grant in _writable(site))
            or "no bucket"
        )
        + ".",
    )


def _writable(site: Site) -> list[Any]:
    return [grant for grant in site.grants if grant.access == "rw"]


@dataclass(frozen=True)
class View:
    """How a job sees the buckets.

    :ivar mount: where it sees them mounted; empty: not at all, it has ``s3://`` then.
    """

    site: Site
    mount: str = ""

    def object(self, address: str) -> ObjectAddress | None:
        """The object of ours behind an address, if the user has a grant in its bucket."""
        if not address.startswith(("s3://", "http://", "https://", "/")):
            return None
        try:
            found = addresses.parse(address, self.site)
        except (InvalidInput, ValueError):
            # Not an address after all, or not one that names an object.
            return None
        if found is None or found.bucket not in {grant.bucket for grant in self.site.grants}:
            return None
        return found

    def seen(self, address: str) -> str:
        """One of our addresses as the job sees it; everything else as it is."""
        found = self.object(address)
        if found is None:
            return address
        return f"{self.mount.rstrip('/')}/{found.bucket}/{found.key}" if self.mount else found.s3

    def argument(self, text: str) -> str:
        """An argument: an address by itself, or after the ``=`` of an option."""
        if text.startswith("-") and "=" in text:
            name, _, value = text.partition("=")
            return f"{name}={self.seen(value)}"
        return self.seen(text)

    def output(self, prefix: str) -> str:
        """The output prefix as the job sees it, no slash at the end."""
        return self.seen(prefix + "file").removesuffix("/file")

    def translated(self, value: Any) -> Any:
        """The ``href`` members of items and assets anywhere in a value, as the job sees them."""
        if isinstance(value, dict):
            return {
                key: self.seen(inner)
                if key == "href" and isinstance(inner, str)
                else self.translated(inner)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.translated(inner) for inner in value]
        return value


def filled(arguments: list[str], view: View, *, output: str, inputs: str) -> list[str]:
    """A program's arguments with what is filled in and translated."""
    return [
        view.argument(text).replace("{output}", output).replace("{inputs}", inputs)
        for text in arguments
    ]
