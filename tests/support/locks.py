"""Who waits for a lock in the database of a test: the cluster is shared, and others' tests make others wait."""

# pg_stat_activity stands still within a transaction; pg_locks does not. A wait for a transaction has no database, but
# whoever waits for one has locks in theirs.
_WAITING = """
SELECT DISTINCT w.pid FROM pg_locks w JOIN pg_locks l ON l.pid = w.pid
WHERE NOT w.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
HOW_MANY_WAIT = f"SELECT count(*) FROM ({_WAITING}) AS who"
END_WHO_WAITS = f"SELECT pg_terminate_backend(pid) FROM ({_WAITING}) AS who"
