"""The HTTP side of the service: stac-fastapi's routes and models, and the list of providers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from stac_fastapi.api.app import StacApi
from stac_fastapi.types.config import ApiSettings
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from cscale_mqs.answers import json_answer
from cscale_mqs.client import LANDING_ID, MQSClient, MQSQueryables
from cscale_mqs.config import Config
from cscale_mqs.middleware import Guard, PublicAddress
from cscale_mqs.problems import add_handlers
from cscale_mqs.questions import Requests
from cscale_mqs.service import MetadataService

VERSION = "1.0"
STAC_VERSION = "1.1.0"
_PREFLIGHT_SECONDS = 600


def build_application(config: Config, service: MetadataService) -> FastAPI:
    """The ASGI application on a service that is not started yet."""
    prefix = config.prefix
    settings = ApiSettings(
        _env_file=None,  # no .env of the working folder
        stac_fastapi_title=config.title,
        stac_fastapi_description=config.description,
        stac_fastapi_version=VERSION,
        stac_fastapi_landing_id=LANDING_ID,
        openapi_url=f"{prefix}/api",
        enable_response_models=False,
    )
    requests = Requests(MQSQueryables(service))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title=config.title,
        description=config.description,
        version=VERSION,
        openapi_url=settings.openapi_url,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )

    @app.get(f"{prefix}/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return json_answer({"status": "ok"})

    @app.get(f"{prefix}/data-providers", name="Data Providers")
    async def data_providers(request: Request) -> Response:
        """Every archive of the federation, whether it answers, and why it is not asked."""
        return json_answer(await service.data_providers())

    StacApi(
        settings=settings,
        client=MQSClient(service, requests),
        extensions=requests.extensions,
        exceptions={},
        title=config.title,
        description=config.description,
        stac_version=STAC_VERSION,
        app=app,
        router=APIRouter(prefix=prefix),
        search_get_request_model=requests.search_get,
        search_post_request_model=requests.search_post,
        items_get_request_model=requests.items,
        collections_get_request_model=requests.collections,
        middlewares=[
            Middleware(Guard),
            Middleware(PublicAddress, public_root=config.public_root, prefix=prefix),
            # Outermost, so that a browser may read errors too. Nothing here is for one person, so
            # any page may ask; credentials are not taken.
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
                allow_headers=["*"],
                expose_headers=["X-Request-Id", "Retry-After"],
                max_age=_PREFLIGHT_SECONDS,
            ),
        ],
    )
    add_handlers(app)
    return app
