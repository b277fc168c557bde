"""A whole Carillon that sends through `carillon simulate`: retries, refusals for good, and a bounce told late."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from tests.support.client import Client, connected
from tests.support.platform import QUICK, Platform, all_in_one
from tests.support.processes import free_port
from tests.support.simulator import Simulator, simulator
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

SCRIPT = """
{"do": "refuse", "to": "greylisted-*", "code": 451, "text": "4.7.1 Come again", "times_each": 1}
{"do": "refuse", "to": "refused-*", "code": 550, "text": "5.1.1 No such mailbox"}
{"do": "bounce", "to": "bounced-*", "seconds": 2, "text": "550 5.2.1 Mailbox closed"}
"""
PUSH_SCRIPT = """
{"do": "refuse", "to": "busy-*", "code": 429, "retry_after": 1, "times_each": 1}
{"do": "refuse", "to": "away-*", "code": 503, "times_each": 1}
{"do": "dead", "to": "dead-*"}
"""


@pytest.fixture(scope="module")
def smtp_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def push_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "rules.jsonl").write_text(PUSH_SCRIPT)
    flags = ["--rules", str(folder / "rules.jsonl"), "--account-file", str(folder / "account.json")]
    with simulator("fcm", *flags, folder=folder) as running:
        yield running


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, smtp_port: int, push_provider: Simulator) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("carillon")
    environment = {
        **QUICK,
        "CARILLON_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}?tls=none",
        "CARILLON_FCM_URL": push_provider.ready["url"],
        "CARILLON_SERVICE_ACCOUNT_FILE": push_provider.ready["account_file"],
    }
    with all_in_one(folder, environment) as running:
        yield running


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory, platform: Platform, smtp_port: int) -> Iterator[Simulator]:
    """Started after the platform, whose token it tells bounces with."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "rules.jsonl").write_text(SCRIPT)
    token = platform.data_dir / "tokens" / "email_worker.token"
    flags = ["--rules", str(folder / "rules.jsonl"), "--gateway", platform.gateway, "--token-file", str(token)]
    with simulator("smtp", *flags, folder=folder, port=smtp_port) as running:
        yield running


@pytest.fixture
async def client(platform: Platform, provider: Simulator) -> AsyncIterator[Client]:
    async with connected(platform) as client:
        yield client


async def notified(client: Client, email: str) -> str:
    user = await client.register(email=email)
    accepted = await client.notify(user["user_id"], await client.publish())
    assert accepted.status == 202
    notification_id: str = accepted.data["notification_id"]
    return notification_id


async def test_a_temporary_refusal_is_tried_again_and_delivered(client: Client, provider: Simulator) -> None:
    email = f"greylisted-{uuid4().hex}@example.com"

    notification_id = await notified(client, email)

    ended = await client.settled(notification_id)
    assert (ended["status"], ended["attempts"]) == ("delivered", 2)
    kinds = await client.kinds(notification_id)
    assert kinds.index("attempt_failed") < kinds.index("delivered")
    received = provider.received(f"?to={email}")
    assert [(entry["verdict"], entry["taken"]) for entry in received] == [("accepted", True), ("refused", False)]
    assert notification_id in received[0]["message_id"]


async def test_a_permanent_refusal_ends_it_with_the_providers_word(client: Client, provider: Simulator) -> None:
    email = f"refused-{uuid4().hex}@example.com"

    notification_id = await notified(client, email)

    ended = await client.settled(notification_id)
    assert (ended["status"], ended["attempts"]) == ("failed", 1)
    assert "550 5.1.1" in ended["error"]
    assert [entry["verdict"] for entry in provider.received(f"?to={email}")] == ["refused"]


async def test_a_late_bounce_turns_delivered_into_failed(client: Client, provider: Simulator) -> None:
    email = f"bounced-{uuid4().hex}@example.com"

    notification_id = await notified(client, email)

    async def bounced() -> bool:
        # On a busy machine the bounce may overtake the note of the delivery; it stands then as well.
        kinds = set(await client.kinds(notification_id))
        return "delivered" in kinds and bool(kinds & {"bounced", "failed"})

    await eventually(bounced, within=60, every=0.05, says="the bounce is told")
    found = await client.notification(notification_id)
    assert (found["status"], found["error"]) == ("failed", "550 5.2.1 Mailbox closed")

    def told() -> bool:
        return bool(provider.received(f"?to={email}")[0]["bounce"] == "told")

    await eventually(told, says="the simulator knows that it was heard")


async def test_a_reply_that_never_came_and_a_dropped_connection_end_in_a_delivery(
    client: Client, provider: Simulator
) -> None:
    """A mail that may have been taken is sent again: twice at most, lost never."""
    email = f"dropped-{uuid4().hex}@example.com"
    before = provider.ask("GET", "/rules")["rules"]
    provider.ask(
        "PUT",
        "/rules",
        {
            "rules": [
                {"do": "drop", "to": "dropped-*", "when": "during", "nth": 1},
                {"do": "drop", "to": "dropped-*", "when": "after", "nth": 2},
                *before,
            ]
        },
    )
    try:
        notification_id = await notified(client, email)
        ended = await client.settled(notification_id, within=90)
    finally:
        provider.ask("PUT", "/rules", {"rules": before})

    assert ended["status"] == "delivered"
    received = provider.received(f"?to={email}")
    assert [(entry["verdict"], entry["taken"]) for entry in reversed(received)] == [
        ("dropped", False),
        ("dropped", True),
        ("accepted", True),
    ]


@pytest.mark.parametrize("trouble", ["busy", "away"])
async def test_a_push_provider_that_is_busy_or_away_gets_it_again(
    client: Client, push_provider: Simulator, trouble: str
) -> None:
    token = f"{trouble}-{uuid4().hex}"
    user = await client.register(push_token=token)

    accepted = await client.notify(user["user_id"], await client.publish("push"), "push")

    ended = await client.settled(accepted.data["notification_id"])
    assert (ended["status"], ended["attempts"]) == ("delivered", 2)
    received = push_provider.received(f"?to={token}")
    assert [(entry["verdict"], entry["taken"]) for entry in received] == [("accepted", True), ("refused", False)]


async def test_a_dead_token_fails_the_push(client: Client, push_provider: Simulator) -> None:
    token = f"dead-{uuid4().hex}"
    user = await client.register(push_token=token)

    accepted = await client.notify(user["user_id"], await client.publish("push"), "push")

    assert (await client.settled(accepted.data["notification_id"]))["status"] == "failed"
    assert [entry["said"] for entry in push_provider.received(f"?to={token}")] == ["404 UNREGISTERED"]
