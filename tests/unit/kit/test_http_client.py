"""Calling another service: what is no answer of its own is nobody's answer, and its token goes nowhere else."""

import pytest
from aiohttp import web

from carillon.kit.http.client import ServiceClient, ServiceRefused, ServiceUnavailable
from tests.support.peers import peer


async def test_a_redirect_is_a_refusal_and_the_token_is_not_carried_on() -> None:
    carried: list[str] = []

    async def moved(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async def elsewhere(request: web.Request) -> web.Response:
        carried.append(request.headers["Authorization"])
        return web.Response()

    async with peer([web.get("/here", moved), web.get("/elsewhere", elsewhere)]) as there:
        client = ServiceClient(there.session, there.url, token="crl_secret")
        assert (await client.call("GET", "/here")).status == 302
        with pytest.raises(ServiceUnavailable):
            await client.data("GET", "/here", dict[str, str])
    assert carried == []


async def test_a_refusal_tells_its_code_and_a_failure_when_to_come_again() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.json_response({"success": False, "error": "not_found", "message": "no"}, status=404)

    async def fail(_request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "7"})

    async with peer([web.get("/refuse", refuse), web.get("/fail", fail)]) as there:
        client = ServiceClient(there.session, there.url, token="crl_secret")
        with pytest.raises(ServiceRefused) as refused:
            await client.data("GET", "/refuse", dict[str, str])
        with pytest.raises(ServiceUnavailable) as failed:
            await client.call("GET", "/fail")
    assert (refused.value.status, refused.value.code, failed.value.retry_after) == (404, "not_found", 7)
