"""`python -m carillon` is the same as `carillon`."""

from carillon.cli import main

main()
