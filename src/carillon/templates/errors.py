"""The failures of this service, each with a code and a status."""

from collections.abc import Sequence

from carillon.kit.errors import Conflict, FieldProblem, Invalid, NotFound


class TemplateNotFound(NotFound):
    """No template has this code."""

    code = "template_not_found"

    def __init__(self, code: str) -> None:
        super().__init__(f"There is no template {code!r}. GET /api/v1/templates lists what there is.")


class VersionNotFound(NotFound):
    """The template has no version of this number, channel or language."""

    code = "version_not_found"

    def __init__(self, code: str, wanted: str) -> None:
        super().__init__(
            f"Template {code!r} has no version {wanted}. GET /api/v1/templates/{code}/versions lists them."
        )


class NotPublished(NotFound):
    """Nothing is published for the channel, in the language asked for or in those it falls back to."""

    code = "template_not_published"

    def __init__(self, code: str, channel: str, languages: Sequence[str]) -> None:
        super().__init__(
            f"Template {code!r} has nothing published for {channel} in {', '.join(languages)}. "
            f"Publish a version: POST /api/v1/templates/{code}/versions/<number>/publish."
        )


class CodeTaken(Conflict):
    """A template has this code already."""

    code = "template_exists"

    def __init__(self, code: str) -> None:
        super().__init__(
            f"There is a template {code!r} already: POST /api/v1/templates/{code}/versions adds a version."
        )


class StillPublished(Conflict):
    """What is published may be asked for at any moment."""

    code = "template_published"

    def __init__(self, code: str, where: str) -> None:
        super().__init__(
            f"Template {code!r} is published for {where}. "
            f"Withdraw it first: DELETE /api/v1/templates/{code}/published?channel=…&language=…"
        )


class BrokenContent(Invalid):
    """The content does not fit its channel, or is no valid template; `details` names field and line."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.field}: {p.reason}" for p in problems), details=problems)
