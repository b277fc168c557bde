"""What the simulators read from `CARILLON_SIMULATORS_*` and `CARILLON_*`."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from carillon.kit.settings import Settings


class SimulatorsSettings(Settings, frozen=True, kw_only=True):
    """The mailbox is open to whoever reaches the port: for development and tests, not for the Internet."""

    database_url: Annotated[
        str, Meta(description="PostgreSQL of the simulators: postgresql://user:password@host/database")
    ]
    database_pool: Annotated[int, Meta(ge=1, description="Most connections to PostgreSQL in one process")] = 5
    smtp_host: Annotated[str, Meta(description="Address that the capturing mail server listens on")] = "127.0.0.1"
    smtp_port: Annotated[int, Meta(ge=0, le=65535, description="Its port; 0 takes a free one")] = 2525
    smtp_max_bytes: Annotated[int, Meta(ge=1024, description="Largest mail that is taken")] = 10 * 1024 * 1024
    max_messages: Annotated[int, Meta(ge=1, description="Mails kept, and pushes kept; the oldest leave first")] = 50_000
    mailbox_open: Annotated[bool, Meta(description="Show the mailbox to other machines too, without a token")] = False
    simulated_account_file: Annotated[
        Path, Meta(description="Service account whose assertions the push simulator takes; `carillon up` makes it")
    ]
    access_token_seconds: Annotated[int, Meta(ge=1, description="Life of the push simulator's access tokens")] = 3600
