"""Runs this service's history."""

from carillon.kit.migration_environment import run_environment

run_environment()
