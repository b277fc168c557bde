"""The first templates of an empty installation: something to send before anybody has written a word."""

from typing import Final

from carillon.contracts.templates import TemplateToMake, Variable, VersionToMake

_VARIABLES = {"name": Variable(), "link": Variable()}

WELCOME: Final = TemplateToMake(
    code="welcome",
    channel="email",
    language="en",
    variables=_VARIABLES,
    subject="Welcome, {{ name }}",
    body_text="Hello {{ name }},\n\nit is good to have you here. Begin with this page:\n{{ link }}\n",
    body_html=(
        "<!doctype html><html lang=en><body style='font:16px/1.5 sans-serif;color:#1d2733'>"
        "<p>Hello {{ name }},</p><p>it is good to have you here.</p>"
        '<p><a href="{{ link }}">Begin here</a></p></body></html>\n'
    ),
)
WELCOME_PUSH: Final = VersionToMake(
    channel="push",
    language="en",
    variables=_VARIABLES,
    title="Welcome, {{ name }}",
    body="It is good to have you here, {{ name }}.",
    link="{{ link }}",
)
