"""Carries messages between processes: never lost once published, sometimes twice, on PostgreSQL or on RabbitMQ."""
