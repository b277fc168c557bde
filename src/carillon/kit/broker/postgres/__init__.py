"""The broker on PostgreSQL: one table, SKIP LOCKED claims, leases by the database's clock."""
