"""Alembic's way into this service's migrations."""

from carillon.kit.migration_environment import run_environment

run_environment()
