"""A stand-in for another service: real HTTP on loopback, scripted by the test, to be stopped and started."""

import contextlib
from collections.abc import AsyncIterator, Iterable

import aiohttp
from aiohttp import web

from carillon.kit.http.client import open_session


class Peer:
    """`url` stays the same over `stop` and `start`; `session` is a client's."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._routes: list[web.RouteDef] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, routes: Iterable[web.RouteDef] = ()) -> None:
        self._routes = list(routes) or self._routes
        app = web.Application()
        app.add_routes(self._routes)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


@contextlib.asynccontextmanager
async def peer(routes: Iterable[web.RouteDef]) -> AsyncIterator[Peer]:
    async with open_session() as session:
        there = Peer(session)
        await there.start(routes)
        try:
            yield there
        finally:
            await there.stop()
