"""`carillon settings`: every variable with its default and meaning."""

from itertools import groupby

from rich.console import Console
from rich.table import Table

from carillon.all_in_one import SIMULATORS
from carillon.kit.settings import Variable, variables
from carillon.process_settings import PlatformSettings, ProcessSettings
from carillon.services import SERVICES


def rows() -> list[tuple[str, Variable]]:
    """(who reads it, variable), in the order of the table."""
    found = [("carillon up", variable) for variable in variables(PlatformSettings, "")]
    for name, entry in (*SERVICES.items(), (SIMULATORS.schema, SIMULATORS)):
        process = [] if name == SIMULATORS.schema else list(variables(ProcessSettings, name))
        found += [(name, variable) for variable in (*variables(entry.settings, name), *process)]
    return found


def print_settings() -> None:
    """One table; a service reads its own variable first and then the one without its name (CARILLON_BROKER_URL)."""
    console = Console(width=None if Console().is_terminal else 200)
    for reader, group in groupby(rows(), key=lambda row: row[0]):
        table = Table(title=reader, title_justify="left", box=None, pad_edge=False)
        for heading in ("variable", "default", "what it does"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "variable")
        for _, variable in group:
            table.add_row(variable.name, variable.default, variable.description)
        console.print(table, "")
    console.print(
        "A service also reads each of its variables without its name, e.g. CARILLON_BROKER_URL for all services. "
        "A value may be in a file: CARILLON_BROKER_URL_FILE names it."
    )
