"""`/docs`: an OpenAPI document as one page that works without scripts and without the Internet."""

from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem;color:#1d2733}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.5rem;text-transform:capitalize}
details{border:1px solid #d5dce4;border-radius:6px;margin:.4rem 0;padding:.4rem .8rem}
summary{cursor:pointer}code{font:14px/1.45 ui-monospace,monospace}
b.verb{display:inline-block;min-width:4.2rem;color:#0b6e4f}
td,th{text-align:left;padding:.1rem .8rem .1rem 0;vertical-align:top}
"""


def docs_page(document: dict[str, Any]) -> str:
    """The whole page; everything from the document is escaped."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document.get("paths", {}).items():
        for verb, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                tag = (operation.get("tags") or ["other"])[0]
                by_tag.setdefault(tag, []).append(_operation(path, verb, operation, document))
    title = escape(document["info"]["title"])
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in sorted(by_tag.items()))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f"<p>Machine-readable: <a href='/openapi.json'>/openapi.json</a></p>{sections}</html>"
    )


def _operation(path: str, verb: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    contents: dict[str, dict[str, Any]] = operation.get("requestBody", {}).get("content", {})
    body = next((content.get("schema") for content in contents.values()), None)
    asked = f"<p>Body</p>{_schema(body, document)}" if body else ""
    parameters = "".join(_parameter(p) for p in operation.get("parameters", []))
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code><td>{escape(answer.get('description', ''))}"
        for status, answer in sorted(operation["responses"].items())
    )
    return (
        f"<details><summary><b class=verb>{verb.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary', ''))}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p>"
        f"{f'<table>{parameters}</table>' if parameters else ''}{asked}<table>{answers}</table></details>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    kind = parameter.get("schema", {}).get("type", "")
    need = "required" if parameter.get("required") else "optional"
    return _row(parameter["name"], parameter["in"], str(kind), need)


def _schema(schema: dict[str, Any], document: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    shown = document.get("components", {}).get("schemas", {}).get(name, schema)
    needed = shown.get("required", ())
    rows = "".join(
        _row(field, _kind(inner), "required" if field in needed else "optional")
        for field, inner in shown.get("properties", {}).items()
    )
    return f"<table>{rows}</table>"


def _row(name: str, *cells: str) -> str:
    return f"<tr><td><code>{escape(name)}</code>" + "".join(f"<td>{escape(cell)}" for cell in cells)


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if either := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(_kind(inner) for inner in either)
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    return " or ".join(schema["type"]) if isinstance(schema.get("type"), list) else str(schema.get("type", "any"))
