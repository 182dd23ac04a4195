"""Real HTTP servers on free loopback ports, and a site that names them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import settings

from cscale_core.site import Site
from tests.waiting import until

# A deadline per example measures the machine, not the code.
settings.register_profile("cscale", deadline=None)
settings.load_profile("cscale")


def _free_socket() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    return listener


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with _free_socket() as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Start an ASGI app in a thread; gives its base URL. All are stopped at the end."""
    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(app: Any) -> str:
        listener = _free_socket()
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started, "the test server", pause=0.01)
        running.append((server, thread, listener))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, _, _ in running:
        server.should_exit = True
    for _, thread, listener in running:
        thread.join(5)
        listener.close()


@pytest.fixture
def make_site() -> Callable[..., Site]:
    """A site with members replaced by the arguments."""

    def make(**members: Any) -> Site:
        return Site.model_validate(
            {
                "user": "utest",
                "vos": ["vo.example.eu"],
                "s3": {"endpoint": "http://127.0.0.1:9"},
                "catalogue": {"url": "http://127.0.0.1:9/catalogue"},
                "mount_root": "/s3",
                "mount": "/home/test/s3",
                "grants": [
                    {
                        "bucket": "vobucket",
                        "prefix": "products/",
                        "access": "rw",
                        "vo": "vo.example.eu",
                        "purpose": "products",
                    },
                    {
                        "bucket": "vobucket",
                        "prefix": "users/utest/",
                        "access": "rw",
                        "vo": "vo.example.eu",
                        "purpose": "home",
                    },
                ],
                **members,
            }
        )

    return make
