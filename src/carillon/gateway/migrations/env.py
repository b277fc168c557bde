"""Runs the gateway's history; see `carillon.kit.migration_environment`."""

from carillon.kit.migration_environment import run_environment

run_environment()
