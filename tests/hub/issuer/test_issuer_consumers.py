"""The programs of others that have to work with the identity provider, as they are."""

from __future__ import annotations

import concurrent.futures
import queue

import jwt
import pytest

SCOPES = ["openid", "profile", "email", "voperson_id", "eduperson_entitlement"]


@pytest.fixture
def jwks(issuer):
    return jwt.PyJWKClient(issuer.url("certs"))


def verify(issuer, jwks, token, audience):
    key = jwks.get_signing_key_from_jwt(token).key
    return jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        audience=audience,
        issuer=issuer.issuer,
        options={"require": ["exp", "iat", "sub", "aud", "jti"]},
    )


def test_pyjwt_verifies_access_tokens_and_their_audience(issuer, jwks):
    login = issuer.login_tokens()["access_token"]
    assert verify(issuer, jwks, login, "cscale-hub")["typ"] == "Bearer"
    for_s3 = issuer.exchange(login, "s3").json()["access_token"]
    assert verify(issuer, jwks, for_s3, "s3")["aud"] == ["s3"]
    with pytest.raises(jwt.InvalidAudienceError):
        verify(issuer, jwks, for_s3, "openeo")


def test_pyjwt_verifies_id_tokens(issuer, jwks):
    tokens = issuer.login_tokens()
    key = jwks.get_signing_key_from_jwt(tokens["id_token"])
    decoded = jwt.decode_complete(
        tokens["id_token"],
        key,
        algorithms=["RS256"],
        audience="cscale-hub",
        issuer=issuer.issuer,
    )
    algorithm = jwt.get_algorithm_by_name(decoded["header"]["alg"])
    digest = algorithm.compute_hash_digest(tokens["access_token"].encode())
    expected = jwt.utils.base64url_encode(digest[: len(digest) // 2]).decode()
    assert decoded["payload"]["at_hash"] == expected


class CallbackHandler:
    """What oauthenticator asks of JupyterHub's callback handler."""

    def __init__(self, code, state_cookie):
        self._code = code
        self._state_cookie = state_cookie

    def get_argument(self, name, default=None):
        return self._code if name == "code" else default

    def get_state_cookie(self):
        return self._state_cookie


async def test_oauthenticator_logs_in_and_refreshes(issuer, browser, pkce):
    generic = pytest.importorskip("oauthenticator.generic", reason="install the extra hub")
    oauth2 = pytest.importorskip("oauthenticator.oauth2")
    authenticator = generic.GenericOAuthenticator(
        client_id="cscale-hub",
        client_secret=issuer.secret("cscale-hub"),
        oauth_callback_url="http://127.0.0.1:18999/hub/oauth_callback",
        authorize_url=issuer.url("auth"),
        token_url=issuer.url("token"),
        userdata_url=issuer.url("userinfo"),
        username_claim="preferred_username",
        scope=SCOPES,
        enable_pkce=True,
        manage_groups=True,
        auth_state_groups_key="oauth_user.eduperson_entitlement",
        allow_all=True,
    )
    code = browser.login_for_code("both", pkce)
    cookie = oauth2._serialize_state({"code_verifier": pkce.verifier})
    model = await authenticator.authenticate(CallbackHandler(code, cookie))
    assert model["name"] == "both"
    state = model["auth_state"]
    assert state["refresh_token"]
    assert state["id_token"]
    entitlements = state["oauth_user"]["eduperson_entitlement"]
    assert "urn:mace:egi.eu:group:waterwatch.c-scale.eu:role=member#aai.egi.eu" in entitlements

    parameters = authenticator.build_refresh_token_request_params(state["refresh_token"])
    refreshed = await authenticator.get_token_info(None, parameters)
    assert refreshed["access_token"] != state["access_token"]


def openeo_provider(issuer, oidc):
    return oidc.OidcProviderInfo(
        provider_id="egi",
        title="Local",
        issuer=issuer.issuer,
        scopes=SCOPES,
        default_clients=[
            {
                "id": "cscale-openeo",
                "grant_types": [
                    "urn:ietf:params:oauth:grant-type:device_code+pkce",
                    "refresh_token",
                ],
            }
        ],
    )


def test_openeo_client_logs_in_by_device_code_and_refreshes(issuer, browser, jwks):
    oidc = pytest.importorskip("openeo.rest.auth.oidc", reason="install the extra openeo")
    client = oidc.OidcClientInfo("cscale-openeo", openeo_provider(issuer, oidc))
    shown: queue.Queue[str] = queue.Queue()
    device = oidc.OidcDeviceAuthenticator(client, display=shown.put, max_poll_time=30)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(device.get_tokens, request_refresh_token=True)
        text = shown.get(timeout=10)
        url = next(word for word in text.split() if "user_code=" in word)
        page = browser.login(browser.http.get(url.strip("().,`'")), "aqua")
        browser.submit(page, action="allow")
        tokens = waiting.result(timeout=30)
    assert verify(issuer, jwks, tokens.access_token, "openeo")["azp"] == "cscale-openeo"
    refresh = oidc.OidcRefreshTokenAuthenticator(client, refresh_token=tokens.refresh_token)
    renewed = refresh.get_tokens(request_refresh_token=True)
    assert renewed.refresh_token != tokens.refresh_token


def test_openeo_client_logs_in_by_client_credentials(issuer):
    oidc = pytest.importorskip("openeo.rest.auth.oidc", reason="install the extra openeo")
    client = oidc.OidcClientInfo(
        "cscale-openeo-service",
        openeo_provider(issuer, oidc),
        client_secret=issuer.secret("cscale-openeo-service"),
    )
    assert oidc.OidcClientCredentialsAuthenticator(client).get_tokens().access_token
