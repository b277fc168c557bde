"""Runs the gateway's history; see `carillon.kit.migrations`."""

from carillon.kit.migrations import run_environment

run_environment()
