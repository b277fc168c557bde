"""Every store of the service over one database, by the name of its file."""

from carillon.kit.database import Database
from carillon.users.store.account_mail import AccountMails
from carillon.users.store.addresses import Addresses
from carillon.users.store.administration import Administration
from carillon.users.store.applications import Applications
from carillon.users.store.audiences import Audiences
from carillon.users.store.audit_trail import AuditTrail
from carillon.users.store.categories import Categories
from carillon.users.store.consent import ConsentHistory
from carillon.users.store.credentials import Credentials
from carillon.users.store.devices import Devices
from carillon.users.store.exports import Exports
from carillon.users.store.grants import GrantsStore
from carillon.users.store.idempotency import IdempotencyKeys
from carillon.users.store.lists import Lists
from carillon.users.store.one_time_tokens import OneTimeTokens
from carillon.users.store.opaque_tokens import OpaqueTokens
from carillon.users.store.outbox import Outbox
from carillon.users.store.passkeys import Passkeys
from carillon.users.store.passwords import PasswordStore
from carillon.users.store.people import People
from carillon.users.store.preferences import PreferencesStore
from carillon.users.store.profiles import Profiles
from carillon.users.store.second_factors import LoginChallenges, SecondFactors
from carillon.users.store.sessions import Sessions
from carillon.users.store.suppressions import Suppressions

_KEPT_SECONDS = 86_400.0


class Stores:
    """What actions are given as their keepers."""

    def __init__(self, database: Database) -> None:
        self.account_mails = AccountMails(database)
        self.addresses = Addresses(database)
        self.administration = Administration(database)
        self.applications = Applications(database)
        self.audiences = Audiences(database)
        self.audit_trail = AuditTrail(database)
        self.categories = Categories(database)
        self.consent = ConsentHistory(database)
        self.credentials = Credentials(database)
        self.devices = Devices(database)
        self.exports = Exports(database)
        self.grants = GrantsStore(database)
        self.idempotency_keys = IdempotencyKeys(database)
        self.lists = Lists(database)
        self.login_challenges = LoginChallenges(database)
        self.one_time_tokens = OneTimeTokens(database)
        self.opaque_tokens = OpaqueTokens(database)
        self.outbox = Outbox(database)
        self.passkeys = Passkeys(database)
        self.passwords = PasswordStore(database)
        self.people = People(database)
        self.preferences = PreferencesStore(database)
        self.profiles = Profiles(database)
        self.second_factors = SecondFactors(database)
        self.sessions = Sessions(database)
        self.suppressions = Suppressions(database)

    async def drop_ended(self, *, limit: int) -> int:
        """Drop what is good for nothing any more, up to `limit` of each kind; the most that were dropped of one.

        Sessions and mailed tokens are kept for a day after their end, keys of idempotency for a day.
        """
        return max(
            await self.sessions.drop_ended(older_than_seconds=_KEPT_SECONDS, limit=limit),
            await self.idempotency_keys.drop_old_keys(older_than_seconds=_KEPT_SECONDS, limit=limit),
            await self.one_time_tokens.drop_ended(older_than_seconds=_KEPT_SECONDS, limit=limit),
            await self.login_challenges.drop_ended(limit=limit),
            await self.passkeys.drop_ended(limit=limit),
        )
