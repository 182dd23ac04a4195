"""The identity provider, as far as it can be asked without signing in.

The token endpoint is asked to redeem a code that does not exist: a provider that knows the client
answers ``invalid_grant``, one that does not ``invalid_client`` (RFC 6749, section 5.2).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx

from cscale_hub.doctor.asking import LARGEST_SKEW, NoAnswer, ask, ask_json, skew
from cscale_hub.doctor.findings import Finding, ok, problem, warning
from cscale_hub.local.secrets import SecretError, read_secret
from cscale_hub.settings import Settings, public_url

PART = "sign-in"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


async def login(settings: Settings, http: httpx.AsyncClient) -> list[Finding]:
    """What the provider says of itself, of our client and of our address."""
    address = f"{settings.identity.issuer}/.well-known/openid-configuration"
    try:
        document = await ask_json(http, address)
    except NoAnswer as error:
        return [problem(PART, str(error), f"{error.advice} Nobody can sign in until then.")]
    found = [*_described(settings, document)]
    for check in (_keys, _client, _callback, _clock):
        try:
            found += [finding async for finding in check(settings, document, http)]
        except NoAnswer as error:
            found.append(problem(PART, str(error), error.advice))
    return found


def _described(settings: Settings, document: dict[str, Any]) -> list[Finding]:
    identity = settings.identity
    found: list[Finding] = []
    if document.get("issuer") != identity.issuer:
        found.append(
            problem(
                PART,
                f"it calls itself {document.get('issuer')}, the settings {identity.issuer}",
                "Write identity.issuer just as the provider does: tokens are refused otherwise.",
            )
        )
    missing = [
        name
        for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
        if not isinstance(document.get(name), str)
    ]
    if missing:
        found.append(
            problem(PART, f"it has no {', '.join(missing)}", "Is the issuer an OpenID provider?")
        )
    if "S256" not in document.get("code_challenge_methods_supported", ["S256"]):
        found.append(
            problem(PART, "it does not support PKCE (S256)", "The hub signs in with PKCE only.")
        )
    offered = document.get("scopes_supported")
    if isinstance(offered, list) and (lacking := [s for s in identity.scopes if s not in offered]):
        found.append(
            warning(
                PART,
                f"it does not list the scopes {', '.join(lacking)}",
                "Without eduperson_entitlement there are no VOs, without offline_access people "
                "sign in again when their token ends. Ask the provider, or adapt identity.scopes.",
            )
        )
    grants = document.get("grant_types_supported")
    if isinstance(grants, list) and _EXCHANGE not in grants:
        found.append(
            warning(
                PART,
                "it does not list token exchange (RFC 8693)",
                "The broker then cannot narrow tokens to one audience; have it enabled for the "
                f"client {identity.client_id}.",
            )
        )
    if not document.get("revocation_endpoint"):
        found.append(
            warning(
                PART,
                "it has no revocation endpoint",
                "Logins live on at the provider after a logout, until their tokens end.",
            )
        )
    return found or [ok(PART, f"{identity.issuer} answers and supports what is needed")]


async def _keys(
    settings: Settings, document: dict[str, Any], http: httpx.AsyncClient
) -> AsyncIterator[Finding]:
    address = document.get("jwks_uri")
    if not isinstance(address, str):
        return
    keys = (await ask_json(http, address)).get("keys")
    usable = [
        key
        for key in (keys if isinstance(keys, list) else [])
        if isinstance(key, dict)
        and key.get("kty") in ("RSA", "EC", "OKP")
        and key.get("use", "sig") == "sig"
    ]
    if not usable:
        yield problem(
            PART, "it publishes no key for signatures", "No ID token can be verified; tell it so."
        )


async def _client(
    settings: Settings, document: dict[str, Any], http: httpx.AsyncClient
) -> AsyncIterator[Finding]:
    identity = settings.identity
    address = document.get("token_endpoint")
    if not isinstance(address, str):
        return
    form = {
        "grant_type": "authorization_code",
        "code": f"doctor-{secrets.token_hex(8)}",
        "redirect_uri": f"{public_url(settings)}/hub/oauth_callback",
        "code_verifier": secrets.token_hex(32),
    }
    auth: httpx.Auth | None = None
    if identity.client_secret_file is None:
        form["client_id"] = identity.client_id
    else:
        try:
            auth = httpx.BasicAuth(identity.client_id, read_secret(identity.client_secret_file))
        except SecretError:
            return  # told with the documents
    answer = await ask(http, address, method="POST", form=form, auth=auth)
    try:
        body = answer.json()
    except ValueError:
        body = {}
    said = str(body.get("error", "")) if isinstance(body, dict) else ""
    if said == "invalid_grant":
        yield ok(PART, f"it knows the client {identity.client_id} and its secret")
    elif said in ("invalid_client", "unauthorized_client"):
        yield problem(
            PART,
            f"it does not take the client {identity.client_id} ({said})",
            "Compare identity.client_id and the file of the secret with what was registered there.",
        )
    else:
        yield warning(
            PART,
            f"whether it takes the client is not known ({answer.status_code} {said[:40]})".rstrip(),
            "Sign in once by hand.",
        )


async def _callback(
    settings: Settings, document: dict[str, Any], http: httpx.AsyncClient
) -> AsyncIterator[Finding]:
    address = document.get("authorization_endpoint")
    if not isinstance(address, str):
        return
    callback = f"{public_url(settings)}/hub/oauth_callback"
    question = {
        "response_type": "code",
        "client_id": settings.identity.client_id,
        "redirect_uri": callback,
        "scope": "openid",
        "state": secrets.token_hex(8),
        "nonce": secrets.token_hex(8),
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",  # RFC 7636, appendix B
        "code_challenge_method": "S256",
    }
    answer = await ask(http, f"{address}?{urlencode(question)}")
    # An address it does not know is told to the person, never sent there (RFC 6749, 4.1.2.1).
    if answer.status_code in (400, 401, 403, 404):
        yield problem(
            PART,
            f"it does not lead back to {callback} ({answer.status_code})",
            f"Register that address for the client {settings.identity.client_id}, letter by "
            "letter.",
        )
    elif answer.status_code < 400:
        yield ok(PART, f"it leads back to {callback}")


async def _clock(
    settings: Settings, document: dict[str, Any], http: httpx.AsyncClient
) -> AsyncIterator[Finding]:
    answer = await ask(http, f"{settings.identity.issuer}/.well-known/openid-configuration")
    ahead = skew(answer, time.time())
    if ahead is not None and abs(ahead) > LARGEST_SKEW:
        yield problem(
            PART,
            f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this one",
            "Tokens are refused for that. Have this machine's clock set by NTP.",
        )
