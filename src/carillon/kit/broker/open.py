"""Opens the broker that a URL names."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from carillon.kit.broker.port import Broker, Topology, Tuning
from carillon.kit.broker.postgres.adapter import open_postgres
from carillon.kit.broker.rabbitmq.adapter import open_rabbitmq
from carillon.kit.telemetry.tracing import TRACING


@asynccontextmanager
async def open_broker(
    url: str, topology: Topology, *, name: str, tuning: Tuning | None = None
) -> AsyncIterator[Broker]:
    """Open a broker, also while its server is away: it goes on trying, and says `BrokerUnavailable` meanwhile.

    `name` is what the server's own tools show for the connection.
    """
    TRACING.broker = "rabbitmq" if url.startswith("amqp") else "postgresql"
    async with _adapter(url, topology, name=name, tuning=tuning or Tuning()) as broker:
        yield broker


def _adapter(url: str, topology: Topology, *, name: str, tuning: Tuning) -> AbstractAsyncContextManager[Broker]:
    scheme = url.partition("://")[0]
    if scheme in {"postgresql", "postgres"}:
        return open_postgres(url, topology, name=name, tuning=tuning)
    if scheme in {"amqp", "amqps"}:
        return open_rabbitmq(url, topology, name=name, tuning=tuning)
    found = f", not {scheme!r}" if "://" in url and scheme.isalnum() else ""  # anything else may hold a password
    raise ValueError(f"a broker URL starts with postgresql://, amqp:// or amqps://{found}")
