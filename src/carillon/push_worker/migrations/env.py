"""Alembic's entry to this schema."""

from carillon.kit.migrations import run_environment

run_environment()
