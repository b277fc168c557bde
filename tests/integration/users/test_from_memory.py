"""Preferences answered from memory: as the app answers, never another's, never what has changed."""

import re
from pathlib import Path

import aiohttp

from carillon.kit.http.edge import Receive, Scope, Send
from carillon.users.app import build
from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.support.http import serving


async def whole(session: aiohttp.ClientSession, path: str, token: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers in their order, and body; without what each answer has of its own."""
    async with session.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
        named = [(name.lower(), value) for name, value in answer.headers.items() if name.lower() != "date"]
        headers = [(name, "" if name == "x-correlation-id" else value) for name, value in named]
        return answer.status, headers, await answer.read()


async def test_memory_answers_what_the_app_answers_and_only_while_it_holds(
    settings: UsersSettings, tmp_path: Path
) -> None:
    asked: list[str] = []
    async with build(settings).open() as service:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            asked.append(scope["path"])
            await service.app(scope, receive, send)

        async with serving(app, shortcuts=service.shortcuts) as url, aiohttp.ClientSession(url) as session:
            api = UsersApi(session, tmp_path)
            (ada, hers), (_, others), admin = await api.someone(), await api.someone(), await api.admin()
            path = f"/v1/users/{ada['user_id']}/preferences"
            for token in (hers, others, admin):
                await whole(session, path, token)

            asked.clear()
            by_memory = [await whole(session, p, t) for p in (path, f"/api{path}/") for t in (hers, admin)]
            assert asked == []
            by_app = await whole(session, f"{path}?", hers)
            assert by_memory == [by_app] * 4
            assert (await whole(session, path, others))[0] == 404

            await api.call("PATCH", path, token=hers, body={"email": False})
            changed = await whole(session, path, hers)
            assert re.search(rb'"email":false,.*"version":2', changed[2])
