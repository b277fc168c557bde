"""The failures of this service, each with a code and a status."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

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


class SecondFactorRequired(Unauthenticated):
    """The password is right and does not suffice; `data` tells how to go on."""

    code = "second_factor_required"

    def __init__(self, asked: msgspec.Struct) -> None:
        super().__init__("The password is right. Send a code of your second factor now.")
        self.headers |= {"Cache-Control": "no-store"}
        self.data = asked


class InvalidChallenge(Unauthenticated):
    """The same answer for one that was used, has expired, was voided, or was never given."""

    code = "invalid_challenge"

    def __init__(self) -> None:
        super().__init__("This login took too long, or was finished: begin again with the password.")


class WrongCode(Forbidden):
    """The same answer for a wrong code, for one that was used, and for a wrong recovery code."""

    code = "wrong_code"

    def __init__(self) -> None:
        super().__init__("This code is wrong, or was used before: wait for the next one.")


class UnknownSecondFactor(NotFound):
    """None is on, or none was begun with."""

    code = "second_factor_not_found"

    def __init__(self) -> None:
        super().__init__("There is no second factor here.")


class SecondFactorOn(Conflict):
    """One at a time."""

    code = "second_factor_on"

    def __init__(self) -> None:
        super().__init__("A second factor is on already: take it off first.")


class CodeNeeded(Forbidden):
    """Logins of this account need a code, and so does this."""

    code = "second_factor_required"

    def __init__(self) -> None:
        super().__init__("Your logins need a code: send one, or a recovery code, with this too.")


class PasskeyRefused(Unauthenticated):
    """The same answer whatever is wrong: an unknown passkey, a used challenge, another origin, a bad signature."""

    code = "passkey_refused"

    def __init__(self) -> None:
        super().__init__("This passkey does not open an account here: begin again, or sign in with the password.")


class PasskeyUnverified(Forbidden):
    """What the browser sent does not show a new passkey for this account, at this moment."""

    code = "passkey_unverified"

    def __init__(self) -> None:
        super().__init__("This could not be verified as a new passkey of yours: begin again.")


class PasskeyTaken(Conflict):
    """An authenticator's passkey is registered once."""

    code = "passkey_taken"

    def __init__(self) -> None:
        super().__init__("This passkey is registered already.")


class TooManyPasskeys(Conflict):
    """As many as one user may have."""

    code = "too_many_passkeys"

    def __init__(self, most: int) -> None:
        super().__init__(f"A user has at most {most} passkeys: remove one first.")


class UnknownPasskey(NotFound):
    """No passkey of this id, or none of this user."""

    code = "passkey_not_found"

    def __init__(self) -> None:
        super().__init__("You have no such passkey.")


class WeakPassword(Invalid):
    """A password that others would guess; `details` says which rule it breaks."""

    code = "weak_password"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}", details=[FieldProblem(field, reason)])


class WrongPassword(Forbidden):
    """The present password is another one."""

    code = "wrong_password"

    def __init__(self) -> None:
        reason = "This is not the present password."
        super().__init__(f"current_password: {reason}", details=[FieldProblem("current_password", reason)])


class InvalidToken(Forbidden):
    """The same answer for a token of a mail that is used, expired, replaced by a newer one, or was never given."""

    code = "invalid_token"

    def __init__(self) -> None:
        reason = "This link is used or has expired: ask for another mail."
        super().__init__(f"token: {reason}", details=[FieldProblem("token", reason)])


class ChangedMeanwhile(Conflict):
    """Two changed the same thing at the same moment."""

    code = "changed_meanwhile"

    def __init__(self) -> None:
        super().__init__("The password was changed by another request at the same moment: look, and try again.")


class UnknownUser(NotFound):
    """Nobody of this id, or nobody this caller may know of."""

    code = "user_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such user, or none that this token may see.")


class UnknownRole(NotFound):
    """There is no role of this id."""

    code = "role_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such role.")


class RoleNameTaken(Conflict):
    """Names of roles are unique."""

    code = "role_name_taken"

    def __init__(self) -> None:
        super().__init__("Another role has this name.")


class TooManyRoles(Conflict):
    """Roles are made by people, not by programs."""

    code = "too_many_roles"

    def __init__(self) -> None:
        super().__init__("There are more roles than anybody can oversee: delete some first.")


class SeededRole(Conflict):
    """What came with Carillon can be relied on."""

    code = "seeded_role"


class LastAdministrator(Conflict):
    """Somebody must be able to repair everything."""

    code = "last_administrator"

    def __init__(self) -> None:
        super().__init__("This is the last active administrator: make somebody else one first.")


class CannotGrant(Forbidden):
    """Nobody gives, or takes from others, what they do not hold themselves."""

    code = "cannot_grant"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"You do not hold this yourself: {', '.join(names)}.",
            details=[FieldProblem(name, "You do not hold this permission.") for name in names],
        )


class CannotActOn(Forbidden):
    """Nobody acts on somebody who may do more than they may: whoever takes over that account would have it all."""

    code = "cannot_act_on"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"This concerns somebody who may do more than you: {', '.join(names)}.",
            details=[FieldProblem(name, "They hold this permission, and this token does not.") for name in names],
        )


class UnknownDevice(NotFound):
    """No device of this id, or none of this user."""

    code = "device_not_found"

    def __init__(self) -> None:
        super().__init__("This user has no such device.")


class TooManyDevices(Conflict):
    """The user has as many working devices as are kept; nothing was changed."""

    code = "too_many_devices"

    def __init__(self, most: int) -> None:
        super().__init__(f"A user has at most {most} devices: remove one first.")


class UnknownThen(NotFound):
    """The user agreed to nothing before they were known."""

    code = "preferences_not_found"

    def __init__(self) -> None:
        super().__init__("Nothing had been agreed to by then: the user was not known yet.")


class UnknownCategory(NotFound):
    """No category of this code."""

    code = "category_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such category.")


class CategoryNeeded(Conflict):
    """Carillon itself writes in this category."""

    code = "category_needed"

    def __init__(self) -> None:
        super().__init__("Carillon itself writes in this category: it can be changed, not dropped.")


class TooManyCategories(Conflict):
    """There are as many as are kept."""

    code = "too_many_categories"

    def __init__(self) -> None:
        super().__init__("There are as many categories as are kept: drop one first.")


class InvalidRefreshToken(Unauthenticated):
    """The same answer for an invented, a spent and an expired one."""

    code = "invalid_refresh_token"

    def __init__(self) -> None:
        super().__init__("The refresh token is not valid any more: log in again.")


class UnknownSession(NotFound):
    """No session of this id goes on, or none of this caller."""

    code = "session_not_found"

    def __init__(self) -> None:
        super().__init__("You have no such session, or it has ended.")


class UnknownToken(NotFound):
    """No token of this id that works, or none of this owner."""

    code = "token_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such token here, or it was revoked.")


class TooManyTokens(Conflict):
    """As many tokens as one owner may have."""

    code = "too_many_tokens"

    def __init__(self, most: int) -> None:
        super().__init__(f"One owner has at most {most} tokens: revoke one first.")


class UnknownApplication(NotFound):
    """No application of this id."""

    code = "application_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such application.")


class ApplicationNameTaken(Conflict):
    """An application or a service has this name, perhaps one that was disabled."""

    code = "application_name_taken"

    def __init__(self) -> None:
        super().__init__("An application or a service has this name already, perhaps one that is disabled.")


class ApplicationDisabled(Conflict):
    """Tokens of a disabled application would not work."""

    code = "application_disabled"

    def __init__(self) -> None:
        super().__init__("This application is disabled: no token of it works.")


class IdempotencyKeyReused(Conflict):
    """The key belongs to a request of another body."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was sent with another request: take a new one for each thing to make.")


class AlreadyMade(Exception):
    """The same request has made this before; nothing was changed."""

    def __init__(self, resource_id: UUID) -> None:
        super().__init__(str(resource_id))
        self.resource_id = resource_id
