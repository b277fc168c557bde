"""Real servers for the whole suite: PostgreSQL, RabbitMQ and Redis as own children on free ports of 127.0.0.1."""

from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["PostgresServer", "postgres_server"]
