"""Secrets are found wherever they are in a notebook, never repeated, ordinary text is let by."""

from __future__ import annotations

import base64
import json
from hashlib import shake_256
from pathlib import Path
from typing import Any

import pytest

from cscale_core.notebooks.scanning import SecretsFound, refuse_secrets, scan
from tests.core.notebooks.doubles import code, markdown, notebook, output, submission

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJlMTIz"
HUB = "0123456789abcdef" * 2
LETTERS = "Zk3vQ9xB7mT1wL5c"
SECRETS = {
    "a token in a header": f"headers = {{'Authorization': 'Bearer {LETTERS}{LETTERS}'}}",
    "a JWT": f"t = '{JWT}'",
    "an access key": "aws_access_key_id = AKIA" + "Q3EGRIZ5T7XW2ABC",
    "a secret key": f"AWS_SECRET_ACCESS_KEY={LETTERS}{LETTERS}{LETTERS[:8]}",
    "a session token": f'"SessionToken": "{LETTERS * 8}"',
    "a signed address": f"https://s3.example/b/k?X-Amz-Signature={HUB}{HUB}",
    "a password in an address": "postgresql://me:hunter2-and-more@db.example/x",
    "a token of the hub": f"JUPYTERHUB_API_TOKEN={HUB}",
    "a refresh token": f"refresh_token = '{LETTERS}'",
    "a client secret": f"client_secret: {LETTERS}{LETTERS}",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    "a GitHub token": "ghp_" + (LETTERS * 3)[:36],
    "a password in a program": 'password = "correct-horse-9"',
}
ORDINARY = [
    "token = connection.token()  # asked for at each request",
    "The bearer of this ticket may enter the archive.",
    "password = os.environ['PASSWORD']",
    "password = getpass()",
    'item = "S2B_MSIL2A_20250612T103629_N0511_R008_T32TMT_20250612T141800"',
    "sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'",
    "https://catalogue.example/collections/s2?datetime=2025-01-01/2025-02-01&limit=10",
    "s3://aqua/products/s2/item/B03.tif",
    "secret_access_key = ...",
    "mailto:someone@example.org and http://host:8080/path@version",
    "connect(auth=identity.connect())",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_cell_is_found_and_not_repeated(name: str) -> None:
    made = notebook(markdown("# x"), code("import os\n" + SECRETS[name]))
    with pytest.raises(SecretsFound) as told:
        refuse_secrets(scan(made))
    said = json.dumps(told.value.as_dict())
    assert "cell 2, line 2" in said
    for part in (LETTERS, HUB, JWT, "hunter2", "correct-horse"):
        assert part not in said


def placed(secret: str) -> dict[str, Any]:
    stream = {"output_type": "stream", "name": "stdout", "text": ["x\n", secret]}
    error = {"output_type": "error", "ename": "E", "evalue": secret, "traceback": []}
    trace = {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["x", secret]}
    tagged = code("x")
    tagged["metadata"] = {"papermill": {"parameters": {"header": secret}}}
    attached = markdown("![x](attachment:a.txt)")
    attached["attachments"] = {"a.txt": {"text/plain": secret}}
    return {
        "markdown": notebook(markdown(secret)),
        "stream": notebook(code("x", stream)),
        "error": notebook(code("x", error)),
        "traceback": notebook(code("x", trace)),
        "html output": notebook(code("x", output(**{"text/html": f"<p>{secret}</p>"}))),
        "svg output": notebook(code("x", output(**{"image/svg+xml": f"<!-- {secret} -->"}))),
        "json output": notebook(code("x", output(**{"application/json": {"a": [secret]}}))),
        "cell metadata": notebook(tagged),
        "attachment": notebook(attached),
        "metadata": notebook(code("x"), env={"header": secret}),
        "widgets": notebook(code("x"), widgets={"a": {"state": {"m": {"value": secret}}}}),
    }


@pytest.mark.parametrize("place", placed(""))
def test_a_secret_is_found_wherever_it_is(place: str) -> None:
    assert scan(placed(f"Bearer {LETTERS}{LETTERS}")[place]), place


def test_what_this_server_holds_is_found_whatever_it_looks_like() -> None:
    made = notebook(code("x = 'plain words of a secret'"))
    assert scan(made) == []
    (found,) = scan(made, ["plain words of a secret"])
    assert (found.place, found.line, found.kind) == ("cell 1", 1, "secret of this server")
    assert scan(made, ["", "x", "words"]) == []  # too short to be told from text


def test_title_description_and_name_of_the_file_are_looked_at(library: Any, memory: Any) -> None:
    for member in ("title", "description", "source"):
        with pytest.raises(SecretsFound):
            library().publish(submission(**{member: f"see Bearer {LETTERS}{LETTERS}"}))
    assert memory.objects == {}


def test_a_secret_in_outputs_only_does_not_hold_up_who_takes_them_out(library: Any) -> None:
    made = notebook(code("print(t)", output(**{"text/plain": f"'{JWT}'"})))
    with pytest.raises(SecretsFound, match="output 1") as told:
        library().publish(submission(made, outputs=True))
    assert "without outputs" in told.value.hint
    assert library().publish(submission(made, outputs=False)).version == 1


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_let_by(text: str) -> None:
    assert scan(notebook(markdown(text), code(text, output(**{"text/plain": text})))) == []


def test_pictures_and_long_lines_are_no_secrets() -> None:
    noise = base64.b64encode(shake_256(b"noise").digest(200_000)).decode()
    page = f"<img src='data:image/png;base64,{noise}'>"
    made = notebook(code("x", output(**{"image/png": noise, "text/html": page})))
    assert scan(made) == []


def test_a_secret_in_the_middle_of_a_long_line_is_found() -> None:
    line = "a " * 9_990 + f"Bearer {LETTERS}{LETTERS} " + "b " * 20_000
    assert scan(notebook(code(line)))


def test_our_own_notebooks_hold_none() -> None:
    for path in sorted((Path(__file__).parents[3] / "notebooks").glob("*.ipynb")):
        assert scan(json.loads(path.read_text(encoding="utf-8"))) == [], path.name
