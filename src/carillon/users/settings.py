"""What the users service reads from `CARILLON_USERS_*` and `CARILLON_*`."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from carillon.contracts.channels import RETRY_DELAYS
from carillon.contracts.users import LONGEST_ACCESS_SECONDS
from carillon.kit.settings import Settings


class UsersSettings(Settings, frozen=True, kw_only=True):
    """Limits count per minute; 0 means unlimited."""

    database_url: Annotated[
        str, Meta(description="PostgreSQL of this service: postgresql://user:password@host/database")
    ]
    broker_url: Annotated[str, Meta(description="postgresql://… or amqp://…: where changes are announced")]
    database_pool: Annotated[int, Meta(ge=1, description="Most connections to PostgreSQL in one process")] = 10
    redis_url: Annotated[
        str | None, Meta(description="Redis that shares limits and copies of look-ups between processes")
    ] = None
    retry_delays: Annotated[tuple[float, ...], Meta(description="Rungs of the broker's retry ladder, in seconds")] = (
        RETRY_DELAYS
    )
    signing_key_file: Annotated[str, Meta(description="Ed25519 key of access tokens; made by the first start")] = (
        ".carillon/signing_key.pem"
    )
    encryption_key_file: Annotated[
        str,
        Meta(description="Key of the secrets of second factors; made by the first start, to be kept with the backups"),
    ] = ".carillon/encryption.key"
    registration: Annotated[Literal["open", "closed"], Meta(description="Whether anyone may register")] = "open"
    requests_per_minute: Annotated[
        int, Meta(ge=0, description="Requests per caller in this service, services excepted; 0 means unlimited")
    ] = 0
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses and networks of proxies whose X-Forwarded-For tells the client's address"),
    ] = ()
    registrations_per_minute: Annotated[int, Meta(ge=0, description="Registrations per client address")] = 60
    logins_per_minute: Annotated[int, Meta(ge=0, description="Logins per client address")] = 60
    failed_logins_per_minute: Annotated[
        int, Meta(ge=0, description="Failed logins per account and client network; ten times as many in all")
    ] = 10
    access_token_seconds: Annotated[
        int, Meta(ge=1, le=LONGEST_ACCESS_SECONDS, description="Life of an access token")
    ] = 300
    session_days: Annotated[float, Meta(gt=0, le=366, description="Life of a login, however often it is renewed")] = 30
    refresh_grace_seconds: Annotated[
        float, Meta(ge=0, description="How long after a renewal the refresh token before is still answered")
    ] = 10
    refreshes_per_minute: Annotated[int, Meta(ge=0, description="Renewals of sessions per client address")] = 600
    remembered_token_seconds: Annotated[float, Meta(ge=0, description="How long a verified token is remembered")] = 60
    cache_seconds: Annotated[float, Meta(ge=0, description="How long a preference look-up is fresh")] = 30
    cache_stale_seconds: Annotated[
        float, Meta(ge=0, description="How long preferences are answered, marked stale, while the database is away")
    ] = 3600
    cache_fills: Annotated[int, Meta(ge=1, description="Look-ups that ask the database at a time, each for many")] = 2
    hashing_threads: Annotated[int, Meta(ge=1, le=16, description="Threads that hash passwords")] = 2
    hashing_queue: Annotated[int, Meta(ge=1, description="Sign-ins waiting for a thread before 503")] = 100
    token_file: Annotated[Path, Meta(description="File with this service's own token, made by `carillon migrate`")] = (
        Path(".carillon/tokens/users.token")
    )
    gateway_url: Annotated[str, Meta(description="Where mails about accounts are handed to")] = "http://127.0.0.1:8000"
    public_url: Annotated[str, Meta(description="Where people find this service: the links of mails begin with it")] = (
        "http://127.0.0.1:8000"
    )
    verify_addresses: Annotated[
        bool, Meta(description="Whether a registration has its address confirmed by a mail: true or false")
    ] = False
    password_reset_seconds: Annotated[float, Meta(gt=0, description="How long a link for a new password is good")] = (
        1800
    )
    email_verification_seconds: Annotated[
        float, Meta(gt=0, description="How long a link that confirms an address is good")
    ] = 86_400
    account_mails_per_minute: Annotated[
        int, Meta(ge=0, description="Mails about accounts that a client address, or one account, may ask for")
    ] = 5
    admin_email: Annotated[str, Meta(description="Address of the administrator that the first start makes")] = (
        "admin@carillon.local"
    )
    audit_days: Annotated[
        int, Meta(ge=0, le=36_500, description="Age at which audit events are dropped; 0 keeps them for ever")
    ] = 0
    service_token_days: Annotated[int, Meta(ge=1, description="Life of the tokens that the first start makes")] = 365
