"""Opaque tokens for people and applications. Nobody gives away what they do not hold, nor for ever."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from carillon.kit.errors import FieldProblem, Invalid
from carillon.kit.ids import uuid7
from carillon.users.actions.authenticating import secret_hash
from carillon.users.actions.changing import Changed
from carillon.users.actions.granting import check_held
from carillon.users.domain.idempotency import Once
from carillon.users.domain.roles import Holds, not_held
from carillon.users.domain.tokens import (
    SELF,
    Application,
    NewToken,
    OpaqueParts,
    OpaqueSeen,
    Owner,
    covered,
    opaque_text,
)
from carillon.users.errors import (
    AlreadyMade,
    ApplicationDisabled,
    ApplicationNameTaken,
    TooManyTokens,
    UnknownApplication,
    UnknownToken,
    UnknownUser,
)

MOST_TOKENS = 100


class TokenKeeper(Protocol):
    """Tokens by owner."""

    async def add(
        self, token: NewToken, *, owner: Owner, owner_id: UUID, actor_id: UUID, most: int, once: Once | None
    ) -> OpaqueSeen | Literal["no_owner", "too_many"]: ...

    async def tokens(
        self, *, owner: Owner, owner_id: UUID, limit: int, offset: int
    ) -> tuple[list[OpaqueSeen], int]: ...

    async def revoke(self, token_id: UUID, *, owner: Owner, owner_id: UUID, actor_id: UUID) -> bool: ...


class ApplicationKeeper(Protocol):
    """Applications by id."""

    async def usual_permissions(self) -> list[str]: ...

    async def add(
        self, name: str, permissions: Sequence[str], *, actor_id: UUID, once: Once | None
    ) -> Application | None: ...

    async def application(self, application_id: UUID) -> Application | None: ...

    async def disable(self, application_id: UUID, *, actor_id: UUID) -> Application | None: ...


@dataclass(frozen=True, slots=True)
class Minter:
    """Who makes tokens, and what they hold; `once` where the same is to be made once."""

    actor_id: UUID
    holds: Holds
    once: Once | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A token as it is asked for."""

    name: str
    abilities: Sequence[str]
    days: int


@dataclass(frozen=True, slots=True)
class Minted:
    """The only time that `text` is seen; None for a token that the same request has made before."""

    token: OpaqueSeen
    text: str | None


async def mint_own(wish: Wish, *, by: Minter, tokens: TokenKeeper) -> Minted:
    """A personal access token. Raises Invalid for abilities that the caller does not hold, TooManyTokens."""
    if missing := not_held(wish.abilities, lambda name: name in SELF or by.holds(name)):
        problems = [FieldProblem("abilities", f"You do not hold {name}.") for name in missing]
        raise Invalid(f"abilities: you do not hold {', '.join(missing)}", details=problems)
    return await _minted(wish, owner="user", owner_id=by.actor_id, by=by, tokens=tokens)


async def mint_for_application(
    application_id: UUID, wish: Wish, *, by: Minter, tokens: TokenKeeper, applications: ApplicationKeeper
) -> Minted:
    """Raises UnknownApplication, ApplicationDisabled, CannotGrant for what the caller does not hold, TooManyTokens,
    Invalid for what the application does not hold."""
    found = await applications.application(application_id)
    if found is None:
        raise UnknownApplication
    if found.disabled_at is not None:
        raise ApplicationDisabled
    abilities = wish.abilities or found.permissions
    check_held(abilities, by.holds)
    held = frozenset(found.permissions)
    if beyond := not_held(abilities, lambda name: covered(name, held)):
        problems = [FieldProblem("abilities", f"The application does not hold {name}.") for name in beyond]
        raise Invalid(f"abilities: the application does not hold {', '.join(beyond)}", details=problems)
    asked = Wish(wish.name, abilities, wish.days)
    return await _minted(asked, owner="application", owner_id=application_id, by=by, tokens=tokens)


async def revoke_token(
    token_id: UUID, *, owner: Owner, owner_id: UUID, by: UUID, tokens: TokenKeeper, changed: Changed
) -> None:
    """Raises UnknownToken for one that does not work any more, or is of another owner."""
    if not await tokens.revoke(token_id, owner=owner, owner_id=owner_id, actor_id=by):
        raise UnknownToken
    changed(owner_id)


async def make_application(
    name: str, permissions: Sequence[str] | None, *, by: Minter, applications: ApplicationKeeper
) -> tuple[Application, bool]:
    """With the permissions of the role `application` where none are given; and whether it is new.

    Raises CannotGrant, ApplicationNameTaken, IdempotencyKeyReused.
    """
    given = sorted(set(await applications.usual_permissions() if permissions is None else permissions))
    check_held(given, by.holds)
    try:
        made = await applications.add(name, given, actor_id=by.actor_id, once=by.once)
    except AlreadyMade as before:
        found = await applications.application(before.resource_id)
        if found is None:
            raise UnknownApplication from None
        return found, False
    if made is None:
        raise ApplicationNameTaken
    return made, True


async def disable_application(
    application_id: UUID, *, by: Minter, applications: ApplicationKeeper, changed: Changed
) -> Application:
    """None of its tokens works from now on; disabled before is disabled still. Raises UnknownApplication,
    CannotGrant."""
    found = await applications.application(application_id)
    if found is None:
        raise UnknownApplication
    check_held(found.permissions, by.holds)
    disabled = await applications.disable(application_id, actor_id=by.actor_id)
    changed(application_id)
    return disabled or await applications.application(application_id) or found


async def revoke_application_token(
    application_id: UUID,
    token_id: UUID,
    *,
    by: Minter,
    tokens: TokenKeeper,
    applications: ApplicationKeeper,
    changed: Changed,
) -> None:
    """Raises UnknownToken, also where there is no such application, and CannotGrant."""
    found = await applications.application(application_id)
    if found is None:
        raise UnknownToken
    check_held(found.permissions, by.holds)
    await revoke_token(
        token_id, owner="application", owner_id=application_id, by=by.actor_id, tokens=tokens, changed=changed
    )


async def _minted(wish: Wish, *, owner: Owner, owner_id: UUID, by: Minter, tokens: TokenKeeper) -> Minted:
    parts = OpaqueParts(uuid7(), secrets.token_urlsafe(32))
    new = NewToken(parts.token_id, wish.name, sorted(set(wish.abilities)), secret_hash(parts.secret), wish.days)
    try:
        made = await tokens.add(
            new, owner=owner, owner_id=owner_id, actor_id=by.actor_id, most=MOST_TOKENS, once=by.once
        )
    except AlreadyMade as before:
        works, _ = await tokens.tokens(owner=owner, owner_id=owner_id, limit=MOST_TOKENS, offset=0)
        for token in works:
            if token.token_id == before.resource_id:
                return Minted(token, None)
        raise UnknownToken from None
    if made == "too_many":
        raise TooManyTokens(MOST_TOKENS)
    if made == "no_owner":  # suspended or disabled since the caller was let in
        raise UnknownUser if owner == "user" else ApplicationDisabled
    return Minted(made, opaque_text(parts))
