"""`AsyncCarillon`: what an application may ask of Carillon, each a method that is awaited."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import aiohttp

from carillon.contracts.batches import BatchReport
from carillon.contracts.broadcasts import AudienceCount, Broadcast
from carillon.contracts.channels import Channel
from carillon.contracts.dead_letters import DeadLetterGroup, Replayed
from carillon.contracts.envelope import PageMeta
from carillon.contracts.notifications import Explanation, Forecast, Notification, NotificationAccepted, Timeline
from carillon.contracts.people import KnownDevice, Preferences, User
from carillon.contracts.stats import Stats
from carillon.contracts.templates import Preview, Template, TemplateVersion
from carillon.contracts.users import DevicePlatform
from carillon.sdk.exchange import Exchange, Patience
from carillon.sdk.signing_in import Given, Login

T = TypeVar("T")
_FIRST_LOOK = 0.1
_LAST_LOOK = 2.0


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `meta` tells how many there are."""

    items: list[T]
    meta: PageMeta


class AsyncCarillon:
    """A client of the Carillon at `url` (`http://127.0.0.1:8000`), to be entered with `async with`.

    `token` is an application's, or `email` and `password` sign in. Raises the errors of `carillon.sdk`; every call may
    be given up after `patience` said so.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        email: str | None = None,
        password: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("url begins with http:// or https://")
        if (email is None) != (password is None) or (token and email is not None):
            raise ValueError("give a token, or an email and a password")
        self.url = url
        self._authorization = Login(email, password) if email is not None and password is not None else Given(token)
        self._patience = patience or Patience()
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._exchange = Exchange(self._session, self.url, authorization=self._authorization, patience=self._patience)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def notify(
        self,
        /,
        *,
        user_id: UUID | str,
        template: str,
        variables: Mapping[str, Any],
        channel: Channel = "email",
        request_id: str | None = None,
        **more: Any,
    ) -> NotificationAccepted:
        """Ask to notify a user. `request_id` makes it once, however often it is asked; one is made where none is given.

        `more`: priority, metadata, category, send_at, expires_at.
        """
        body = _notification(user_id, template, variables, channel, request_id, more)
        return await self._ask("POST", "/notifications", NotificationAccepted, body=body)

    async def dry_run(
        self,
        /,
        *,
        user_id: UUID | str,
        template: str,
        variables: Mapping[str, Any],
        channel: Channel = "email",
        request_id: str | None = None,
        **more: Any,
    ) -> Forecast:
        """What would become of it; writes nothing."""
        body = _notification(user_id, template, variables, channel, request_id, more)
        return await self._ask("POST", "/notifications/dry_run", Forecast, body=body)

    async def batch(self, /, notifications: Sequence[Mapping[str, Any]]) -> BatchReport:
        """Up to 1,000 bodies of `POST /notifications`; each has an outcome, and a `request_id` made if it has none."""
        bodies = [{"request_id": str(uuid4()), **body} for body in notifications]
        return await self._ask("POST", "/notifications/batch", BatchReport, body={"notifications": bodies})

    async def notification(self, /, notification_id: UUID | str) -> Notification:
        return await self._ask("GET", _one(notification_id), Notification)

    async def by_request(self, /, request_id: str) -> Notification:
        return await self._ask("GET", f"/notifications/request/{_part(request_id)}", Notification)

    async def notifications(self, /, *, page: int = 1, limit: int = 20, **filters: object) -> Page[Notification]:
        """The newest first. `filters`: user_id, status, notification_type, template_code, created_from, created_to."""
        return await self._list("/notifications", Notification, page, limit, filters)

    async def timeline(self, /, notification_id: UUID | str) -> Timeline:
        return await self._ask("GET", _one(notification_id) + "/timeline", Timeline)

    async def explain(self, /, notification_id: UUID | str) -> Explanation:
        return await self._ask("GET", _one(notification_id) + "/explain", Explanation)

    async def cancel(self, /, notification_id: UUID | str) -> NotificationAccepted:
        """While it is not yet on its way; Conflict afterwards."""
        return await self._ask("POST", _one(notification_id) + "/cancel", NotificationAccepted)

    async def wait_until_ended(self, /, notification_id: UUID | str, *, seconds: float = 60) -> Notification:
        """Asked again until it is no longer pending. Raises TimeoutError."""
        look = _FIRST_LOOK
        async with asyncio.timeout(seconds):
            while (found := await self.notification(notification_id)).status == "pending":
                await asyncio.sleep(look)
                look = min(look * 1.5, _LAST_LOOK)
            return found

    async def create_template(self, /, *, code: str, channel: Channel = "email", **fields: Any) -> Template:
        """A template and its version 1. `fields`: language, subject, body_text, body_html, title, body, variables …"""
        body = {"code": code, "channel": channel, **fields}
        return await self._ask("POST", "/templates", Template, body=body, repeatable=False)

    async def add_version(self, /, code: str, *, channel: Channel = "email", **fields: Any) -> TemplateVersion:
        path = f"/templates/{_part(code)}/versions"
        return await self._ask("POST", path, TemplateVersion, body={"channel": channel, **fields}, repeatable=False)

    async def publish_template(self, /, code: str, version: int) -> TemplateVersion:
        """From now on this version is sent; an older one rolls back."""
        return await self._ask("POST", f"/templates/{_part(code)}/versions/{version}/publish", TemplateVersion)

    async def preview_template(self, /, code: str, variables: Mapping[str, Any], **which: Any) -> Preview:
        """`which`: version, channel, language."""
        body = {"variables": variables, **which}
        return await self._ask("POST", f"/templates/{_part(code)}/preview", Preview, body=body)

    async def templates(self, /, *, page: int = 1, limit: int = 20, **filters: object) -> Page[Template]:
        return await self._list("/templates", Template, page, limit, filters)

    async def contact(self, /, email: str, *, name: str | None = None) -> UUID:
        """The id of the person with that address, made where there is none."""
        body = {"email": email, "name": name} if name else {"email": email}
        return UUID((await self._ask("POST", "/contacts", dict[str, Any], body=body))["user_id"])

    async def user(self, /, user_id: UUID | str) -> User:
        return await self._ask("GET", f"/users/{user_id}", User)

    async def preferences(self, /, user_id: UUID | str) -> Preferences:
        return await self._ask("GET", f"/users/{user_id}/preferences", Preferences)

    async def change_preferences(self, /, user_id: UUID | str, **changes: Any) -> Preferences:
        """`changes`: email, push, categories, quiet_hours; what is not named stays."""
        return await self._ask("PATCH", f"/users/{user_id}/preferences", Preferences, body=changes)

    async def devices(self, /, user_id: UUID | str) -> list[KnownDevice]:
        return await self._ask("GET", f"/users/{user_id}/devices", list[KnownDevice])

    async def add_device(
        self, /, user_id: UUID | str, *, platform: DevicePlatform, token: str, **more: Any
    ) -> KnownDevice:
        """Or change it; a token moves to whoever registers it. `more`: name, and keys for webpush."""
        body = {"platform": platform, "token": token, **more}
        return await self._ask("POST", f"/users/{user_id}/devices", KnownDevice, body=body)

    async def remove_device(self, /, user_id: UUID | str, device_id: UUID | str) -> KnownDevice:
        return await self._ask("DELETE", f"/users/{user_id}/devices/{device_id}", KnownDevice)

    async def broadcast(
        self,
        /,
        *,
        audience: Mapping[str, Any],
        template: str,
        variables: Mapping[str, Any],
        channel: Channel = "email",
        request_id: str | None = None,
        **more: Any,
    ) -> Broadcast:
        """One template to many: `audience` is `{"filter": …}` or `{"user_ids": […]}`."""
        what = {"notification_type": channel, "template_code": template, "variables": variables, "audience": audience}
        body = {**what, "request_id": request_id or str(uuid4()), **more}
        return await self._ask("POST", "/broadcasts", Broadcast, body=body)

    async def count_audience(self, /, audience: Mapping[str, Any]) -> int:
        body = {"audience": audience}
        return (await self._ask("POST", "/broadcasts/preview", AudienceCount, body=body)).total

    async def broadcast_progress(self, /, broadcast_id: UUID | str) -> Broadcast:
        return await self._ask("GET", f"/broadcasts/{broadcast_id}", Broadcast)

    async def pause_broadcast(self, /, broadcast_id: UUID | str) -> Broadcast:
        return await self._ask("POST", f"/broadcasts/{broadcast_id}/pause", Broadcast, repeatable=False)

    async def resume_broadcast(self, /, broadcast_id: UUID | str) -> Broadcast:
        return await self._ask("POST", f"/broadcasts/{broadcast_id}/resume", Broadcast, repeatable=False)

    async def cancel_broadcast(self, /, broadcast_id: UUID | str) -> Broadcast:
        return await self._ask("POST", f"/broadcasts/{broadcast_id}/cancel", Broadcast, repeatable=False)

    async def dead_letters(self, /, *, page: int = 1, limit: int = 20, **filters: object) -> Page[DeadLetterGroup]:
        """By cause, the most frequent first."""
        return await self._list("/dead_letters", DeadLetterGroup, page, limit, filters)

    async def replay(self, /, *, dry_run: bool = False, **which: Any) -> Replayed:
        """Send dead letters again. `which`: ids, cause, template_code, notification_type, died_from, died_to, after."""
        body = {**which, "dry_run": dry_run}
        return await self._ask("POST", "/dead_letters/replay", Replayed, body=body, repeatable=dry_run)

    async def stats(self) -> Stats:
        return await self._ask("GET", "/stats", Stats)

    async def _ask(self, method: str, path: str, shape: type[T], *, body: Any = None, repeatable: bool = True) -> T:
        return (await self._opened().ask(method, path, shape, body=body, repeatable=repeatable)).data

    async def _list(self, path: str, shape: type[T], page: int, limit: int, filters: Mapping[str, object]) -> Page[T]:
        query = {name: _word(value) for name, value in filters.items() if value is not None}
        query |= {"page": str(page), "limit": str(limit)}
        found = await self._opened().ask("GET", path, list[shape], query=query)  # type: ignore[valid-type]
        return Page(found.data, found.meta)

    def _opened(self) -> Exchange:
        if self._session is None:
            raise RuntimeError("enter the client first: async with AsyncCarillon(…) as carillon")
        return self._exchange


def _notification(
    user_id: UUID | str,
    template: str,
    variables: Mapping[str, Any],
    channel: Channel,
    request_id: str | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "notification_type": channel,
        "user_id": user_id,
        "template_code": template,
        "variables": variables,
        "request_id": request_id or str(uuid4()),
        **more,
    }


def _one(notification_id: UUID | str) -> str:
    return f"/notifications/{_part(str(notification_id))}"


def _part(text: str) -> str:
    return quote(text, safe="")


def _word(value: object) -> str:
    return (
        value.isoformat()
        if isinstance(value, datetime)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
