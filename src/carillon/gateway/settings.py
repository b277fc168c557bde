"""What the gateway reads from `CARILLON_GATEWAY_*`, or from the `CARILLON_*` all services share."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from carillon.contracts.channels import RETRY_DELAYS
from carillon.contracts.retention import KEEP_DAYS
from carillon.kit.settings import Settings

_Url = "http://127.0.0.1:8000"


class GatewaySettings(Settings, frozen=True, kw_only=True):
    """One field, one variable; `carillon settings` lists them."""

    database_url: Annotated[str, Meta(description="PostgreSQL of the gateway: postgresql://user:password@host/name")]
    broker_url: Annotated[str, Meta(description="Message broker: amqp://… or postgresql://…")]
    token_file: Annotated[Path, Meta(description="File with this service's own token, made by `carillon migrate`")]
    users_url: Annotated[str, Meta(description="Where the users service is found")] = _Url
    templates_url: Annotated[str, Meta(description="Where the templates service is found")] = _Url
    retry_delays: Annotated[
        tuple[float, ...], Meta(description="Seconds of the retry ladder's rungs; the same in every service")
    ] = RETRY_DELAYS
    look_up_seconds: Annotated[
        float, Meta(gt=0, description="How long an acceptance waits for users and templates before it does without")
    ] = 1.0
    requests_per_minute: Annotated[
        int, Meta(ge=0, description="Requests per caller in this service, services excepted; 0 means unlimited")
    ] = 0
    redis_url: Annotated[str | None, Meta(description="Redis that shares the limits between processes")] = None
    database_connections: Annotated[int, Meta(ge=4, le=200, description="Most connections to PostgreSQL")] = 10
    accept_batch: Annotated[int, Meta(ge=1, le=5000, description="Most notifications in one commit")] = 500
    most_waiting: Annotated[
        int,
        Meta(ge=0, description="With more than so many waiting for the broker, new ones of priority 1 to 3 get 429"),
    ] = 100_000
    broadcast_waiting: Annotated[
        int, Meta(ge=0, description="With more than so many waiting for the broker, broadcasts enqueue nobody further")
    ] = 10_000
    broadcast_failure_ratio: Annotated[
        float, Meta(gt=0, le=1, description="A broadcast pauses when a greater share of 100 or more has failed")
    ] = 0.5
    relay_batch: Annotated[int, Meta(ge=1, le=5000, description="Most messages the relay takes at once")] = 500
    relay_queue_length: Annotated[
        int,
        Meta(ge=10, le=1_000_000, description="Most that wait in a lane's queue; the others wait in the outbox"),
    ] = 1000
    relay_lease_seconds: Annotated[
        float, Meta(ge=1, description="After how long a stopped relay's messages are taken by another")
    ] = 20.0  # longer than a publish may take: a lease that ends before only sends a message twice
    reconcile_seconds: Annotated[
        float, Meta(gt=0, description="How often notifications are looked for of which nothing is heard any more")
    ] = 30.0
    overdue_seconds: Annotated[
        float,
        Meta(gt=0, description="Silence after which one is queued anew; doubles each time; above a worker's lease"),
    ] = 600.0
    give_up_seconds: Annotated[
        float, Meta(gt=0, description="Age at which silence has failed for good; above the workers' give-up age")
    ] = 172_800.0
    second_look_seconds: Annotated[
        float, Meta(gt=0, description="Age at which what was accepted by a slow clock is looked for; above its error")
    ] = 86_400.0
    broker_lease_seconds: Annotated[
        float,
        Meta(gt=0, description="After how long a stopped recorder's reports are another's, on the PostgreSQL queue"),
    ] = 30.0
    recorder_batch: Annotated[int, Meta(ge=1, le=5000, description="Most report messages recorded at once")] = 500
    keep_days: Annotated[
        int,
        Meta(ge=0, le=36_500, description="A month leaves once all of it is older and has ended; 0 keeps it for ever"),
    ] = KEEP_DAYS
    recorder_in_flight: Annotated[int, Meta(ge=1, le=20, description="Batches of reports recorded at a time")] = 2
