"""Alembic's way into this service's migrations."""

from carillon.kit.migrations import run_environment

run_environment()
