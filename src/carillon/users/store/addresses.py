"""An address that waits: it is written to, and takes the place of the present one once it is confirmed."""

from collections.abc import Callable, Collection
from uuid import UUID

from carillon.contracts.people import User
from carillon.kit.database import Database
from carillon.users.domain.account_mail import Addressee, Mail, VerificationAsked
from carillon.users.domain.people import Address
from carillon.users.domain.roles import Actor
from carillon.users.errors import EmailTaken
from carillon.users.store.account_mail import put_mail
from carillon.users.store.changes import touch_as
from carillon.users.store.one_time_tokens import void_tokens
from carillon.users.store.people import visible

_TAKEN = "SELECT true FROM users.users WHERE email_key = $1 AND id <> $2"
_WAIT = "UPDATE users.users SET pending_email = CASE WHEN email_key = $3 THEN NULL ELSE $2 END WHERE id = $1"


class Addresses:
    """Changes of address, with the mail that confirms them and the notice to the present one, all at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_pending_email(
        self,
        user_id: UUID,
        wanted: Address,
        *,
        by: Actor,
        notice: Callable[[Addressee], Mail],
        expected: Collection[int] | None = None,
    ) -> User | None:
        """The notice waits before the mail: it is there while something can still be done.

        None when there is no such user, or none that `by` may change. Raises CannotActOn, EmailTaken,
        PreconditionFailed.
        """
        async with self._database.transaction() as connection:
            touched = await touch_as(
                connection, user_id, by, action="email_change_asked", expected=expected, signed_in=True
            )
            if touched is None:
                return None
            if await connection.fetchval(_TAKEN, wanted.key, user_id):
                raise EmailTaken
            await connection.execute(_WAIT, user_id, wanted.shown, wanted.key)
            await void_tokens(connection, user_id, "email_verification")
            user = await visible(connection, user_id)
            if user.pending_email is not None:
                await put_mail(connection, notice(Addressee(user_id, user.name, user.email or "")))
                await put_mail(connection, VerificationAsked(user_id))
            return user
