"""Secrets that must not be published: found by their form, and by what this server itself holds.

The forms are those of detect-secrets (its detectors alone: nothing is verified over the network,
and nothing is guessed from randomness, which pictures and item ids are full of) and our own: bearer
tokens, keys of S3, signed addresses, tokens of JupyterHub. A finding names the place and the kind,
never the secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cscale_core.errors import InvalidInput
from cscale_core.notebooks.documents import Notebook, text_of

_SHORTEST_HELD = 12
_SHORTEST_LINE = 8
_LONGEST_LINE = 20_000
_MOST_FINDINGS = 50
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A value with at least 16 characters, some of them no letters: not the word in a sentence.
_VALUE = r"(?=[A-Za-z._~+/=-]*\d)[A-Za-z0-9._~+/=-]{16,}"

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("bearer token", re.compile(rf"\bbearer\s+{_VALUE}", re.IGNORECASE)),
    (
        "token (JWT)",
        re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    ),
    ("S3 access key", re.compile(r"\b(?:AKIA|ASIA|AROA)[A-Z0-9]{16}\b")),
    (
        "S3 secret key or session token",
        re.compile(
            rf"(?:aws_?)?(?:secret_?access_?key|session_?token|security_?token)"
            rf"[\"']?\s*[:=]\s*[\"']?{_VALUE}",
            re.IGNORECASE,
        ),
    ),
    (
        "signed address",
        re.compile(
            r"[?&;](?:X-Amz-Signature|X-Amz-Security-Token|X-Goog-Signature|Signature|sig)="
            r"[A-Za-z0-9%+/=_-]{16,}",
            re.IGNORECASE,
        ),
    ),
    (
        "password in an address",
        re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@'\"]{1,200}:[^\s/@'\"{}$<>]{1,500}@"),
    ),
    (
        "JupyterHub token",
        re.compile(
            r"(?:token|JUPYTERHUB_API_TOKEN|JPY_API_TOKEN)[\"']?\s*[\s:=]\s*[\"']?"
            r"[0-9a-f]{32,64}\b",
            re.IGNORECASE,
        ),
    ),
    (
        "refresh token or client secret",
        re.compile(
            rf"(?:refresh_token|client_secret|offline_token)[\"']?\s*[:=]\s*[\"']?{_VALUE}",
            re.IGNORECASE,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Where something is that looks like a secret; it does not hold it."""

    place: str
    line: int
    kind: str


class SecretsFound(InvalidInput):
    """The notebook holds what looks like secrets; nothing was published."""

    code = "secrets_found"


@cache
def _detectors() -> tuple[Any, ...]:
    from detect_secrets.plugins import (
        azure_storage_key,
        basic_auth,
        discord,
        github_token,
        gitlab_token,
        keyword,
        mailchimp,
        npm,
        openai,
        private_key,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        stripe,
        telegram_token,
        twilio,
    )

    return (
        azure_storage_key.AzureStorageKeyDetector(),
        basic_auth.BasicAuthDetector(),
        discord.DiscordBotTokenDetector(),
        github_token.GitHubTokenDetector(),
        gitlab_token.GitLabTokenDetector(),
        keyword.KeywordDetector(),
        mailchimp.MailchimpDetector(),
        npm.NpmDetector(),
        openai.OpenAIDetector(),
        private_key.PrivateKeyDetector(),
        pypi_token.PypiTokenDetector(),
        sendgrid.SendGridDetector(),
        slack.SlackDetector(),
        square_oauth.SquareOAuthDetector(),
        stripe.StripeDetector(),
        telegram_token.TelegramBotTokenDetector(),
        twilio.TwilioKeyDetector(),
    )


def _kinds(line: str, number: int) -> Iterator[str]:
    from detect_secrets.filters.heuristic import is_templated_secret

    for kind, form in _FORMS:
        if form.search(line):
            yield kind
    for detector in _detectors():
        # The name has the detector of assigned words expect quotes, as in programs.
        for found in detector.analyze_line(filename="cell.py", line=line, line_number=number):
            if not is_templated_secret(found.secret_value or ""):
                yield str(found.type).lower()


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, the names of members too; pictures and the like left out."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, place)
    elif isinstance(value, dict):
        for name, member in value.items():
            yield place, str(name)
            if isinstance(member, str):
                # As one text, so that an assignment in metadata is seen as one.
                yield place, f"{name} = {member!r}"
            elif not (name.startswith(("image/", "application/pdf")) and name != "image/svg+xml"):
                yield from _texts(member, place)


def _parts(notebook: Notebook) -> Iterator[tuple[str, str]]:
    yield from _texts(notebook.get("metadata", {}), "metadata")
    for number, cell in enumerate(notebook.get("cells", ()), 1):
        here = f"cell {number}"
        yield here, text_of(cell.get("source"))
        yield from _texts(cell.get("metadata", {}), f"{here}, metadata")
        for name, bundle in (cell.get("attachments") or {}).items():
            yield from _bundle(bundle, f"{here}, attachment {name[:60]}")
        for count, output in enumerate(cell.get("outputs", ()), 1):
            there = f"{here}, output {count}"
            yield there, text_of(output.get("text"))
            yield there, "\n".join(str(line) for line in output.get("traceback") or ())
            yield there, f"{output.get('ename', '')}: {output.get('evalue', '')}"
            yield from _texts(output.get("metadata", {}), there)
            yield from _bundle(output.get("data") or {}, there)


def _bundle(bundle: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for media_type, value in bundle.items():
        if isinstance(value, dict):
            yield from _texts(value, place)
        elif media_type == "image/svg+xml" or not media_type.startswith(
            ("image/", "video/", "audio/", "application/pdf", "application/octet-stream")
        ):
            yield place, text_of(value)


def scan(
    notebook: Notebook, held: Iterable[str] = (), further: Sequence[tuple[str, str]] = ()
) -> list[Finding]:
    """What in a notebook looks like a secret, the first fifty.

    Not seen: what is drawn in pictures, or written in pieces that are no secret by themselves.

    :param held: secrets that this server holds; they are found whatever they look like.
    :param further: other texts that would be published, each with the name of its place.
    """
    own = [secret for secret in held if len(secret) >= _SHORTEST_HELD]
    found: dict[Finding, None] = {}
    for place, raw in (*further, *_parts(notebook)):
        text = _ANSI.sub("", raw)
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) < _SHORTEST_LINE:
                continue
            kinds = {"secret of this server"} if any(one in line for one in own) else set()
            for start in range(0, len(line), _LONGEST_LINE):
                # Pieces overlap, so that nothing is cut in two.
                kinds.update(_kinds(line[max(0, start - 500) : start + _LONGEST_LINE], number))
            for kind in sorted(kinds):
                found.setdefault(Finding(place, number, kind))
            if len(found) >= _MOST_FINDINGS:
                return list(found)[:_MOST_FINDINGS]
    return list(found)


def refuse_secrets(findings: Sequence[Finding]) -> None:
    """Publish nothing that holds secrets.

    :raises SecretsFound: with the places and kinds, when there is any.
    """
    if not findings:
        return
    told = "; ".join(f"{one.kind} in {one.place}, line {one.line}" for one in findings[:5])
    more = f"; and {len(findings) - 5} more" if len(findings) > 5 else ""
    raise SecretsFound(
        f"The notebook holds what looks like secrets: {told}{more}.",
        hint="Nothing was published. Take them out (and end them where they were given, if others "
        "saw them), or publish without outputs if they are only there.",
        findings=[{"place": one.place, "line": one.line, "kind": one.kind} for one in findings],
    )
