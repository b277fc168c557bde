"""Real servers for the whole suite: PostgreSQL, RabbitMQ and Redis as own children on free ports of 127.0.0.1."""

from tests.support.postgres import PostgresServer, postgres_server
from tests.support.rabbitmq import RabbitServer, rabbitmq_server
from tests.support.redis import RedisServer, redis_server

__all__ = ["PostgresServer", "RabbitServer", "RedisServer", "postgres_server", "rabbitmq_server", "redis_server"]
