"""The HTTP application: `uvicorn --factory serving.app:create_app`, or `assay serve`."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from registry.errors import AssayError
from serving import problems
from serving.allocator import leave_the_start_alone, return_freed_memory
from serving.middleware import BodyLimit, RequestFrame
from serving.routes import feedback, health, insights, prompts, providers, webhooks
from serving.services import Services
from serving.settings import ServingSettings
from serving.wiring import build

logger = logging.getLogger(__name__)

DESCRIPTION = """Answers business questions from a tenant's own documents: cited, priced and sealed in an audit log.

Send `Authorization: Bearer KEY`. Errors are `application/problem+json` (RFC 9457): act on `code`. Money is a decimal
string, times are RFC 3339 in UTC."""


def create_app(
    settings: ServingSettings | None = None, build: Callable[[ServingSettings], Services] = build
) -> FastAPI:
    """The application; it opens its parts when it starts and closes them when it ends.

    Raises:
        ExposedWithoutGuard: ASSAY_HOST is not loopback and a guard is missing.
    """
    return_freed_memory()
    chosen = settings or ServingSettings()
    chosen.require_guards()
    services = _built(chosen, build)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        try:
            await services.start()
            leave_the_start_alone()
            yield
        finally:
            await services.aclose()

    # No interactive pages: they would load scripts from elsewhere.
    app = FastAPI(
        title="Assay",
        version=version("assay"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.access = services.access
    problems.install(app)
    for router in (insights.router, feedback.router, prompts.router, providers.router, health.router, webhooks.router):
        app.include_router(router)
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestFrame, metrics=services.metrics)  # the last one added is the outermost
    app.openapi = lambda: _openapi(app)
    return app


def _built(settings: ServingSettings, build: Callable[[ServingSettings], Services]) -> Services:
    try:
        return build(settings)
    except AssayError as error:
        logger.error("cannot start: %s", error.message)  # noqa: TRY400 - the sentence says it all
        raise SystemExit(3) from error


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas |= insights.question_schemas() | {"Problem": problems.PROBLEM_SCHEMA}
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        app.openapi_schema = schema
    return app.openapi_schema
