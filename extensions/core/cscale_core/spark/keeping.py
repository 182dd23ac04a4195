"""The Secret of a session in the cluster: made first, renewed, removed last.

A thread with an event loop of its own does it, beside whatever loop a notebook has. When the
session's program dies without a word, the hub removes the Secret with the server.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from logging import getLogger
from pathlib import Path
from typing import Any

from cscale_core.clusters import SparkKubernetes
from cscale_core.errors import CScaleError
from cscale_core.identity.tokens import LoopbackTokens
from cscale_core.jobs.engines.spark.kubernetes.client import Kubernetes
from cscale_core.jobs.engines.spark.kubernetes.cluster import Cluster
from cscale_core.jobs.engines.spark.kubernetes.handing import RENEW_SECONDS, handed, look_again
from cscale_core.jobs.engines.spark.kubernetes.manifest import encoded, namespace_of
from cscale_core.site import Site
from cscale_core.spark.executors import Server, secret_manifest

_log = getLogger(__name__)
_LOOK_SECONDS = 2.0
_END_SECONDS = 20.0


class _Inline(ThreadPoolExecutor):
    """Runs what a library gives to threads at once: at the interpreter's end no thread begins."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # given to whoever waits for it
            done.set_exception(error)
        return done


class Keeper:
    """Keeps one session's Secret, from :meth:`start` until the session or the program ends.

    :param folder: of the session on this server; removed with it.
    :ivar ended: whether the session is no more; asked now and then.
    """

    def __init__(
        self,
        name: str,
        site: Site,
        settings: SparkKubernetes,
        server: Server,
        folder: Path,
    ) -> None:
        self.name = name
        self._site = site
        self._settings = settings
        self._server = server
        self._folder = folder
        self.ended: Callable[[], bool] = lambda: False
        self._made: Future[str] = Future()
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_Inline())
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"keeper of {name}")
        self._data: dict[str, str] = {}

    def start(self, data: dict[str, str]) -> str:
        """Make the Secret; its uid.

        :param data: members that stay.
        :raises CScaleError: when the cluster refuses it, or there is no token for it.
        """
        self._data = data
        self._thread.start()
        uid = self._made.result()
        atexit.register(self.stop)
        return uid

    def stop(self) -> None:
        """Remove the Secret, and wait until it is."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(_END_SECONDS)
        atexit.unregister(self.stop)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._keep())
        finally:
            self._loop.close()

    async def _keep(self) -> None:
        kubernetes = Kubernetes(self._settings.kubeconfig, self._settings.context)
        cluster = Cluster(
            kubernetes, namespace_of(self._settings, self._site.user), self._site.user
        )
        try:
            given = await self._handed()
            manifest = secret_manifest(
                self.name, self._site, self._server, encoded({**self._data, **given})
            )
            uid = await cluster.create_secret(manifest)
        except BaseException as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._made.set_exception(error)
            await cluster.close()
            return
        self._made.set_result(uid)
        try:
            await self._renew(cluster, given)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            try:
                await cluster.delete_secret(self.name)
            except CScaleError as error:
                _log.warning("%s is removed with your server: %s", self.name, error.message)
            await cluster.close()

    async def _renew(self, cluster: Cluster, given: dict[str, str]) -> None:
        """Until the session is over: what is new into the Secret, which pods see in a minute."""
        due = self._loop.time() + look_again(given, RENEW_SECONDS)
        while not self._over.is_set() and not self.ended():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._over.wait()
            if self._over.is_set() or self._loop.time() < due:
                continue
            due = self._loop.time() + RENEW_SECONDS
            try:
                if (new := await self._handed()) != given:
                    await cluster.patch_secret(self.name, encoded(new))
                    given = new
                due = self._loop.time() + look_again(given, RENEW_SECONDS)
            except CScaleError as error:
                _log.warning("The session's credentials are not renewed yet: %s", error.message)

    async def _handed(self) -> dict[str, str]:
        return await handed(self._settings, LoopbackTokens())
