"""What stands in for JupyterLab in a pod: tells what it sees, reads and writes when asked.

Runs in the image of the mounts, which has Python and nothing of ours. Where containers beside it
ask it for S3 credentials, it answers as the server extension does.
"""

import http.server
import json
import os
import pathlib
import threading
import time
import urllib.parse

KEYS = {"AccessKeyId": "test-access", "SecretAccessKey": "test-secret", "Token": ""}


def answer(act: str, path: str, text: str) -> object:
    place = pathlib.Path(path)
    if act == "write":
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return "written"
    if act == "read":
        return place.read_text()
    if act == "list":
        return sorted(each.name for each in place.iterdir())
    if act == "link":
        return str(place.readlink())
    if act == "environment":
        return dict(os.environ)
    return {"user": os.getuid(), "groups": os.getgroups(), "host": os.uname().nodename}


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        try:
            said = {"ok": answer(asked.get("do", ""), asked.get("path", ""), asked.get("text", ""))}
        except OSError as error:
            said = {"error": error.strerror, "number": error.errno}
        self.say(said)

    def say(self, said: object) -> None:
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class Credentials(Server):
    given = 0

    def do_GET(self) -> None:
        # Short: what mounts has to ask again and again.
        Credentials.given += 1
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 20))
        self.say({**KEYS, "Expiration": end})


token = os.environ.get("CSCALE_LOOPBACK_TOKEN_FILE")
if token:
    pathlib.Path(token).parent.mkdir(mode=0o700, exist_ok=True)
    pathlib.Path(token).write_text("key")
    port = int(os.environ["CSCALE_LOOPBACK_PORT"])
    beside = http.server.ThreadingHTTPServer(("127.0.0.1", port), Credentials)
    threading.Thread(target=beside.serve_forever, daemon=True).start()
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
http.server.ThreadingHTTPServer((url.hostname or "", url.port or 8888), Server).serve_forever()
