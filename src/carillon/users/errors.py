"""The failures of this service, each with a code and a status."""

from carillon.kit.errors import Conflict, FieldProblem, Forbidden, Invalid, NotFound, Unauthenticated


class EmailTaken(Conflict):
    """Somebody has this address, in whatever case it is written."""

    code = "email_taken"

    def __init__(self) -> None:
        super().__init__("This e-mail address is registered already: log in, or register another one.")


class RegistrationClosed(Forbidden):
    """The operator lets nobody register."""

    code = "registration_closed"

    def __init__(self) -> None:
        super().__init__("Registration is closed here: ask the operator for an account.")


class WrongCredentials(Unauthenticated):
    """The same answer for an unknown account and for a wrong password."""

    code = "invalid_credentials"

    def __init__(self) -> None:
        super().__init__("The e-mail address or the password is wrong.")


class WeakPassword(Invalid):
    """A password that others would guess; `details` says which rule it breaks."""

    code = "weak_password"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}", details=[FieldProblem(field, reason)])


class UnknownUser(NotFound):
    """Nobody of this id, or nobody this caller may know of."""

    code = "user_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such user, or none that this token may see.")


class TooManyCategories(Exception):
    """The change would leave more categories than are kept; nothing was changed."""
