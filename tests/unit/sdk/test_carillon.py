"""`AsyncCarillon` and `Carillon`: nothing twice, nothing for ever, and one clear error for whatever else answers."""

import asyncio
import inspect
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from carillon.contracts.envelope import Envelope, ErrorEnvelope
from carillon.contracts.notifications import NotificationAccepted
from carillon.contracts.people import ChannelChoices
from carillon.kit.errors import FieldProblem
from carillon.kit.ids import uuid7
from carillon.sdk import (
    AsyncCarillon,
    Carillon,
    CarillonError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Patience,
    Refused,
    TooMany,
    Unauthorized,
    Unreachable,
)
from tests.support.peers import Peer, peer

QUICK = Patience(tries=3, each=1, longest_wait=0.05, total=5)
USER = uuid7()
WHAT: dict[str, Any] = {"user_id": USER, "template": "welcome", "variables": {"name": "Ada", "link": "https://e.com"}}


def accepted(request_id: str) -> bytes:
    said = NotificationAccepted(notification_id=uuid7(), request_id=request_id, status="pending", stage="accepted")
    return msgspec.json.encode(Envelope(said))


class There:
    """What a peer heard, and what it says: a response each, or a connection that is cut after the request was read."""

    def __init__(self) -> None:
        self.answers: list[web.Response | None] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.logins = 0
        self.gone = False
        self.dead: set[str] = set()
        self.session = ""
        self.renewals: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.bodies.append(msgspec.json.decode(raw) if raw else None)
        self.headers.append(dict(request.headers))
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in self.dead:
            return self.no()
        said = self.answers.pop(0) if self.answers else web.Response(body=accepted(self.bodies[-1]["request_id"]))
        if said is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return said

    async def login(self, _request: web.Request) -> web.Response:
        self.logins += 1
        if self.gone:
            return web.json_response({"success": False, "error": "away", "message": "later"}, status=503)
        return self.granted(f"t{self.logins}")

    async def refresh(self, request: web.Request) -> web.Response:
        spent = (await request.json())["refresh_token"]
        self.renewals.append(spent)
        if spent != self.session:
            return self.no()
        self.session += "+"
        return self.granted(f"renewed{len(self.renewals)}")

    def granted(self, token: str) -> web.Response:
        data = {"access_token": token, "expires_in": 900, "refresh_token": self.session}
        return web.json_response({"success": True, "message": "ok", "data": data})

    def no(self) -> web.Response:
        return web.json_response({"success": False, "error": "u", "message": "no"}, status=401)

    async def dripping(self, request: web.Request) -> web.StreamResponse:
        drip = web.StreamResponse()
        await drip.prepare(request)
        while request.transport is not None:
            await drip.write(b" ")
            await asyncio.sleep(0.02)
        return drip


@pytest.fixture
def heard() -> There:
    return There()


@pytest.fixture
async def there(heard: There) -> AsyncIterator[Peer]:
    routes = [
        web.post("/api/v1/notifications", heard.answer),
        web.post("/api/v1/templates", heard.answer),
        web.post("/api/v1/auth/login", heard.login),
        web.post("/api/v1/auth/refresh", heard.refresh),
        web.get("/api/v1/stats", heard.dripping),
    ]
    async with peer(routes) as there:
        yield there


@pytest.fixture
async def carillon(there: Peer) -> AsyncIterator[AsyncCarillon]:
    async with AsyncCarillon(there.url, token="crl_secret", patience=QUICK) as carillon:
        yield carillon


async def test_an_answer_that_is_lost_is_asked_for_again_by_the_same_request_id(
    carillon: AsyncCarillon, heard: There
) -> None:
    heard.answers = [None, web.Response(status=502, text="<html>")]

    told = await carillon.notify(**WHAT)

    assert {body["request_id"] for body in heard.bodies} == {told.request_id}
    assert len(heard.bodies) == 3


@pytest.mark.parametrize("lost", [None, 502, 503])
async def test_what_could_be_made_twice_is_not_asked_again(
    carillon: AsyncCarillon, heard: There, lost: int | None
) -> None:
    heard.answers = [None if lost is None else web.Response(status=lost)]
    with pytest.raises(Unreachable):
        await carillon.create_template(code="welcome", subject="Hello", body_text="Hello")
    assert len(heard.bodies) == 1


async def test_nothing_for_ever_when_nobody_listens(carillon: AsyncCarillon, there: Peer) -> None:
    await there.stop()
    with pytest.raises(Unreachable, match="ClientConnectorError") as told:
        await carillon.create_template(code="welcome")
    assert told.value.status == 0


async def test_too_many_to_the_end_tells_when_to_come_again(carillon: AsyncCarillon, heard: There) -> None:
    said = b'{"success": false, "error": "rate_limited", "message": "later"}'
    heard.answers = [web.Response(status=429, body=said, headers={"Retry-After": "7"}) for _ in range(3)]
    with pytest.raises(TooMany, match="later") as told:
        await carillon.notify(**WHAT)
    assert (told.value.retry_after, told.value.code, len(heard.bodies)) == (7, "rate_limited", 3)


async def test_a_wait_that_would_end_too_late_is_not_begun(there: Peer, heard: There) -> None:
    heard.answers = [web.Response(status=429, headers={"Retry-After": "3600"})]
    async with AsyncCarillon(there.url, patience=Patience(longest_wait=3600, total=5)) as carillon:
        with pytest.raises(TooMany):
            await carillon.notify(**WHAT)
    assert len(heard.bodies) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Invalid), (401, Unauthorized), (403, Forbidden), (404, NotFound), (409, Conflict), (422, Invalid)],
)
async def test_a_refusal_has_its_kind_and_all_that_was_told(
    carillon: AsyncCarillon, heard: There, status: int, kind: type[Refused]
) -> None:
    said = msgspec.json.encode(ErrorEnvelope("x_y", "no", details=(FieldProblem("a", "b"),)))
    heard.answers = [web.Response(status=status, body=said, headers={"X-Correlation-ID": "abc"})]
    with pytest.raises(kind, match="no") as told:
        await carillon.notify(**WHAT)
    assert (told.value.code, told.value.correlation_id, told.value.details[0].field) == ("x_y", "abc", "a")
    assert len(heard.bodies) == 1


@pytest.mark.parametrize(
    "hostile",
    [
        web.Response(text="<html>"),
        web.Response(body=b"\xff\xfe"),
        web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}),
        web.Response(status=500, text="<html>Internal Server Error"),
        web.Response(status=404, text="not here"),
    ],
)
async def test_whoever_else_answers_is_told_as_such(
    carillon: AsyncCarillon, heard: There, hostile: web.Response
) -> None:
    heard.answers = [hostile]
    with pytest.raises(Refused, match="is this the right address") as told:
        await carillon.notify(**WHAT)
    assert told.value.code == "not_carillon"


async def test_an_answer_without_end_ends_all_the_same(there: Peer) -> None:
    async with AsyncCarillon(there.url, patience=Patience(tries=2, each=0.2, longest_wait=0.01)) as carillon:
        with pytest.raises(Unreachable, match="TimeoutError"):
            await carillon.stats()


async def test_many_calls_at_once_sign_in_once_and_again_when_the_token_is_refused(there: Peer, heard: There) -> None:
    async with AsyncCarillon(there.url, email="a@example.com", password="p", patience=QUICK) as carillon:
        await asyncio.gather(*(carillon.notify(**WHAT) for _ in range(5)))
        assert (heard.logins, heard.headers[-1]["Authorization"]) == (1, "Bearer t1")

        heard.answers = [web.Response(status=401, body=b'{"success": false, "error": "u", "message": "no"}')]
        await carillon.notify(**WHAT)
        assert (heard.logins, heard.headers[-1]["Authorization"]) == (2, "Bearer t2")


async def test_an_answer_of_another_release_names_the_field(carillon: AsyncCarillon, heard: There) -> None:
    heard.answers = [web.Response(body=b'{"success": true, "data": {"request_id": "s3cret"}, "message": "ok"}')]
    with pytest.raises(Refused, match=r"missing required field `notification_id`.*of one release") as told:
        await carillon.notify(**WHAT)
    assert told.value.code == "unexpected_answer"
    assert "s3cret" not in str(told.value)


async def test_what_a_newer_release_tells_besides_is_passed_over(carillon: AsyncCarillon, heard: There) -> None:
    known = b'"email": false, "push": true'
    choices = msgspec.json.decode(b"{%s, %s}" % (known, b'"sms": true'), type=ChannelChoices)
    assert choices == ChannelChoices(email=False)

    said = msgspec.json.decode(accepted("r"))
    said["data"]["more"] = 1
    heard.answers = [web.Response(body=msgspec.json.encode(said))]
    assert (await carillon.notify(**WHAT)).request_id == "r"


async def test_waiting_for_who_signs_in_for_all_ends_with_one_s_own_patience(there: Peer, heard: There) -> None:
    patience = Patience(tries=99, each=1, longest_wait=0.2, total=1)
    heard.gone = True
    async with AsyncCarillon(there.url, email="a@example.com", password="p", patience=patience) as carillon:
        calls = [asyncio.create_task(carillon.notify(**WHAT)) for _ in range(20)]  # one after the other: 20 s
        done, left = await asyncio.wait(calls, timeout=10)

    assert left == set()
    assert all(isinstance(call.exception(), Unreachable) for call in done)
    assert heard.bodies == []


async def test_a_session_is_renewed_once_for_all_who_were_refused_at_once(there: Peer, heard: There) -> None:
    heard.session, heard.dead = "r", {"t1", "renewed1"}
    async with AsyncCarillon(there.url, email="a@example.com", password="p", patience=QUICK) as carillon:
        with pytest.raises(Unauthorized):
            await carillon.notify(**WHAT)
        await asyncio.gather(*(carillon.notify(**WHAT) for _ in range(5)))

    assert (heard.logins, heard.renewals) == (1, ["r", "r+"])
    assert heard.headers[-1]["Authorization"] == "Bearer renewed2"


async def test_a_session_that_has_ended_is_followed_by_another(there: Peer, heard: There) -> None:
    heard.session, heard.dead = "r", {"t1", "renewed1"}
    async with AsyncCarillon(there.url, email="a@example.com", password="p", patience=QUICK) as carillon:
        with pytest.raises(Unauthorized):
            await carillon.notify(**WHAT)
        heard.session = "another"
        await carillon.notify(**WHAT)

    assert (heard.logins, heard.renewals) == (2, ["r", "r+"])
    assert heard.headers[-1]["Authorization"] == "Bearer t2"


async def test_who_is_let_in_and_refused_all_the_same_is_told_and_does_not_ask_for_ever(
    there: Peer, heard: There
) -> None:
    heard.session, heard.dead = "r", {f"{kind}{n}" for kind in ("t", "renewed") for n in range(9)}
    async with AsyncCarillon(there.url, email="a@example.com", password="p", patience=QUICK) as carillon:
        with pytest.raises(Unauthorized):
            await carillon.notify(**WHAT)

    assert len(heard.headers) == 2
    assert (heard.logins, heard.renewals) == (1, ["r"])


async def test_it_says_who_asks_and_shows_no_secret(carillon: AsyncCarillon, heard: There) -> None:
    await carillon.notify(**WHAT)
    assert heard.headers[0]["User-Agent"].startswith("carillon-sdk/")
    assert "secret" not in repr(carillon) + repr(vars(carillon))
    assert "secret" not in repr(Carillon("http://127.0.0.1", token="crl_secret"))


async def test_without_await_it_works_beside_a_running_loop_and_from_many_threads(there: Peer, heard: There) -> None:
    told: list[str] = []

    def many() -> None:
        with Carillon(there.url, token="t", patience=QUICK) as carillon:
            threads = [
                threading.Thread(target=lambda: told.append(carillon.notify(**WHAT).request_id)) for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            async def in_a_loop() -> None:  # a blocking call, in a loop that runs
                told.append(carillon.notify(**WHAT).request_id)

            asyncio.run(in_a_loop())

    await asyncio.to_thread(many)

    assert len(set(told)) == 5
    assert not [thread for thread in threading.enumerate() if thread.name == "carillon-sdk"]


async def test_a_client_that_was_not_entered_or_is_closed_says_so() -> None:
    with pytest.raises(RuntimeError, match="enter the client"):
        await AsyncCarillon("http://127.0.0.1:9").stats()
    with pytest.raises(RuntimeError, match="enter the client"):
        Carillon("http://127.0.0.1:9").stats()
    with pytest.raises(ValueError, match="http"):
        Carillon("127.0.0.1:8000")


def test_both_forms_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    assert methods(Carillon) == methods(AsyncCarillon)


def test_the_client_brings_nothing_of_the_server() -> None:
    server = {"litestar", "asyncpg", "aiormq", "redis", "sqlalchemy", "uvicorn"}
    program = f"import sys, carillon.sdk; print({server!r} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "set()"


def test_every_error_is_one_of_ours() -> None:
    assert all(issubclass(kind, CarillonError) for kind in (Refused, Unreachable, TooMany))


def test_closing_ends_the_calls_of_other_threads() -> None:
    told: list[Exception] = []

    def ask(carillon: Carillon) -> None:
        try:
            carillon.stats()
        except CarillonError as error:
            told.append(error)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        patience = Patience(tries=5, each=100, total=100)
        with Carillon(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=patience) as carillon:
            asking = threading.Thread(target=ask, args=(carillon,), daemon=True)
            asking.start()
            connection, _ = silent.accept()
        asking.join(10)
        connection.close()

    assert not asking.is_alive()
    assert [(type(error), getattr(error, "code", "")) for error in told] == [(Unreachable, "closed")]
    with pytest.raises(RuntimeError, match="enter the client first"):
        carillon.stats()
