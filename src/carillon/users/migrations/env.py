"""Runs this service's history."""

from carillon.kit.migrations import run_environment

run_environment()
