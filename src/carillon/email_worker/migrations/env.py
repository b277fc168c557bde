"""Alembic's entry to this schema."""

from carillon.kit.migration_environment import run_environment

run_environment()
