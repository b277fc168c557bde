"""The tables of all settings, as `carillon settings` lists them."""

from itertools import groupby

from carillon.settings_table import rows


def made() -> str:
    """A heading and a table for each reader of settings."""
    lines: list[str] = []
    for reader, found in groupby(rows(), key=lambda row: row[0]):
        lines += [f"## {reader}", "", "| variable | default | what it does |", "| --- | --- | --- |"]
        lines += [f"| `{it.name}` | {_default(it.default)} | {_cell(it.description)} |" for _, it in found]
        lines.append("")
    return "\n".join(lines)


def _default(value: str) -> str:
    if value == "(required)":
        return "required"
    return f"`{_cell(value)}`" if value else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
