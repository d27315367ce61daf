"""The FastAPI application: the gate, the routes, and one shape for every error."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from infra.local.engine.access import Gate
from infra.local.engine.answers import failed
from infra.local.engine.catalog import Catalog
from infra.local.engine.maintenance import Maintenance
from infra.local.engine.problems import EngineProblem
from infra.local.engine.routes import router
from infra.local.engine.settings import EngineSettings

logger = logging.getLogger(__name__)


def create_app(settings: EngineSettings, catalog: Catalog) -> FastAPI:
    """The adapter over an opened catalog, which it closes at the end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        maintenance = asyncio.create_task(Maintenance(catalog).run())
        try:
            yield
        finally:
            maintenance.cancel()
            with suppress(asyncio.CancelledError):
                await maintenance
            catalog.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.settings = settings
    app.state.catalog = catalog
    app.include_router(router)
    app.add_exception_handler(EngineProblem, _problem)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _bug)
    app.add_middleware(Gate, settings=settings)
    return app


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, EngineProblem)  # noqa: S101 - Starlette looked the handler up by this type
    return failed(error.status, str(error))


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    message = f"{request.method} {request.url.path[:200]}: this adapter speaks a part of Qdrant's API, not this call"
    return failed(error.status_code, message)


async def _bug(request: Request, error: Exception) -> Response:
    logger.error("a bug in the adapter: %s %s", request.method, request.url.path, exc_info=error)
    return failed(500, "Service internal error; see the engine's log")
