"""What stands in for a person's server: gives the credentials that a file names, for a while.

``loopback_program.py PORT FILE``; each answer is good for twenty seconds.
"""

import http.server
import json
import pathlib
import sys
import time

SECONDS = 20


class Credentials(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        keys = json.loads(pathlib.Path(sys.argv[2]).read_text())
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + SECONDS))
        body = json.dumps({**keys, "Token": "", "Expiration": end}).encode()
        self.send_response(200 if self.path == "/v1/s3" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Credentials).serve_forever()
