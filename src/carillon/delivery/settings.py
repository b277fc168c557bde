"""Settings that every channel worker has; each worker's own `settings.py` adds its provider's."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from carillon.contracts.channels import RETRY_DELAYS
from carillon.contracts.retention import KEEP_DAYS
from carillon.kit.settings import Settings

Seconds = Annotated[float, Meta(gt=0)]


class WorkerSettings(Settings, frozen=True, kw_only=True):
    """What a worker needs to find its neighbours, and how hard it tries."""

    database_url: Annotated[str, Meta(description="This worker's own PostgreSQL, postgresql://…")]
    broker_url: Annotated[str, Meta(description="The message queue: postgresql://… or amqp://…")]
    token_file: Annotated[Path, Meta(description="File with this worker's service token")]
    users_url: Annotated[str, Meta(description="Root address of the users service")] = "http://127.0.0.1:8000"
    templates_url: Annotated[str, Meta(description="Root address of the templates service")] = "http://127.0.0.1:8000"
    retry_delays: Annotated[
        tuple[Seconds, ...], Meta(min_length=1, description="The broker's retry ladder in seconds, ascending")
    ] = RETRY_DELAYS
    max_attempts: Annotated[int, Meta(ge=1, le=1000, description="Attempts before a message fails for good")] = 8
    retry_base_seconds: Annotated[
        float, Meta(gt=0, description="The longest wait after the first attempt; doubles with each further one")
    ] = 5.0
    retry_cap_seconds: Annotated[float, Meta(gt=0, description="The longest wait between two attempts")] = 3600.0
    give_up_seconds: Annotated[float, Meta(gt=0, description="Age at which a notification fails for good")] = 86_400.0
    lease_seconds: Annotated[float, Meta(gt=0, description="How long a claim stands without an outcome")] = 60.0
    broker_lease_seconds: Annotated[
        float,
        Meta(gt=0, description="After how long a stopped worker's messages are another's, on the PostgreSQL queue"),
    ] = 30.0
    send_seconds: Annotated[
        float, Meta(gt=0, description="Deadline for waiting for a connection and sending; below the lease")
    ] = 30.0
    send_slots: Annotated[int, Meta(ge=1, le=1000, description="Sends at the same time; a fifth for the high lane")] = (
        10
    )
    batch_size: Annotated[int, Meta(ge=1, le=500, description="Messages taken from a lane at once")] = 50
    batches_in_flight: Annotated[int, Meta(ge=1, le=64, description="Batches of a lane in hand at once")] = 4
    breaker_failures: Annotated[int, Meta(ge=1, description="Failures in a row that open a provider's breaker")] = 5
    breaker_ratio: Annotated[
        float, Meta(gt=0, le=1, description="Share of the last calls that must fail to open it, in a row or not")
    ] = 0.5
    breaker_calls: Annotated[int, Meta(ge=2, le=1000, description="How many calls that share is taken of")] = 20
    breaker_seconds: Annotated[float, Meta(gt=0, description="First rest of an open breaker; doubles to 30 s")] = 2.0
    keep_days: Annotated[
        int,
        Meta(ge=0, le=36_500, description="The gateway's own: deliveries stay 38 days longer; 0 keeps them for ever"),
    ] = KEEP_DAYS
    contact_fresh_seconds: Annotated[float, Meta(ge=0, description="Age up to which a contact needs no question")] = (
        30.0
    )
    contact_stale_seconds: Annotated[
        float, Meta(ge=0, description="Age up to which a contact serves while users is away")
    ] = 3600.0
    template_fresh_seconds: Annotated[float, Meta(ge=0, description="How soon a publication takes effect")] = 5.0
    template_stale_seconds: Annotated[
        float, Meta(ge=0, description="Age up to which a version serves while templates is away")
    ] = 86_400.0
