"""The broker on RabbitMQ: quorum queues, confirmed publishes, a ladder of TTL queues, one supervised connection."""
