"""``python -m cscale_hub.node``: show the servers of this node the places of their persons."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from kubernetes_asyncio import client, config
from kubernetes_asyncio.config import ConfigException

from cscale_hub.node.mounts import MountFailed
from cscale_hub.node.places import BUCKETS, SERVERS
from cscale_hub.node.servers import Servers
from cscale_hub.node.tree import Tree

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0


async def serve(servers: Servers, folder: Path) -> None:
    """Keep every server's tree, until cancelled; trees and binds stay then."""
    for name in (BUCKETS, SERVERS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    trees: dict[str, Tree] = {}
    following = asyncio.create_task(servers.follow(), name="servers of the node")
    try:
        while not following.done():
            # Mounts change without an event: a bucket that is mounted anew is seen by looking.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await servers.changed.wait()
            servers.changed.clear()
            if servers.known:
                await _look(servers, folder, trees)
        following.result()
    finally:
        following.cancel()


async def _look(servers: Servers, folder: Path, trees: dict[str, Tree]) -> None:
    wanted = servers.wanted()
    here = {path.name for path in (folder / SERVERS).iterdir()}
    for name in here | wanted.keys():
        trees.setdefault(name, Tree(folder, name))

    async def keep(name: str) -> None:
        try:
            if name in wanted:
                await trees[name].keep(wanted[name])
            else:
                await trees.pop(name).remove()
        except (MountFailed, OSError) as error:
            _log.warning("%s: %s", name, error)

    # One whose bucket hangs does not hold up the others for longer than its time limit.
    await asyncio.gather(*(keep(name) for name in list(trees)))


async def _main(arguments: argparse.Namespace) -> None:
    if arguments.kubeconfig:
        await config.load_kube_config(str(arguments.kubeconfig))
    else:
        config.load_incluster_config()
    loop = asyncio.get_running_loop()
    me = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, me.cancel if me else loop.stop)
    async with client.ApiClient() as api:
        servers = Servers(client.CoreV1Api(api), arguments.namespace, arguments.node)
        with contextlib.suppress(asyncio.CancelledError):
            await serve(servers, arguments.folder)


def main() -> int:
    """Run until told to stop; 2 when the cluster's address is not to be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", required=True, help="name of this node")
    parser.add_argument("--namespace", required=True, help="where the servers are")
    parser.add_argument("--folder", type=Path, required=True, help="the node's folder of mounts")
    parser.add_argument("--kubeconfig", type=Path, help="instead of the pod's service account")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_main(arguments))
    except ConfigException as error:
        print(f"There is no login for the cluster: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
