"""What the templates service reads from `CARILLON_TEMPLATES_*` and `CARILLON_*`."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from carillon.contracts.channels import RETRY_DELAYS
from carillon.contracts.templates import Language
from carillon.kit.settings import Settings


class TemplatesSettings(Settings, frozen=True, kw_only=True):
    """The service needs its database and the users service, which knows the callers."""

    database_url: Annotated[
        str, Meta(description="PostgreSQL of this service: postgresql://user:password@host/database")
    ]
    broker_url: Annotated[str, Meta(description="Message broker: amqp://… or postgresql://…; tells of revocations")]
    retry_delays: Annotated[
        tuple[float, ...], Meta(description="Seconds of the retry ladder's rungs; the same in every service")
    ] = RETRY_DELAYS
    database_pool: Annotated[int, Meta(ge=1, description="Most connections to PostgreSQL in one process")] = 10
    users_url: Annotated[str, Meta(description="Root address of the users service")] = "http://127.0.0.1:8000"
    token_file: Annotated[Path, Meta(description="File with this service's own token, made by `carillon migrate`")]
    requests_per_minute: Annotated[
        int, Meta(ge=0, description="Requests per caller in this service, services excepted; 0 means unlimited")
    ] = 0
    redis_url: Annotated[str | None, Meta(description="Redis that shares the limits between processes")] = None
    default_language: Annotated[Language, Meta(description="Where every language falls back to in the end")] = "en"
