"""From a registered user to a mail on the wire, and every way it can go otherwise."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from tests.fakes.fcm import FakeFcm
from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client
from tests.support.platform import Platform
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)


async def test_register_template_notify_email_delivered(client: Client, smtp: FakeSmtp) -> None:
    user = await client.register()
    code = await client.publish()

    accepted = await client.notify(user["user_id"], code)

    assert accepted.status == 202
    assert accepted.data["status"] == "pending"
    ended = await client.settled(accepted.data["notification_id"])
    assert ended["status"] == "delivered"
    (mail,) = smtp.to(user["email"])
    assert mail.message["Subject"] == "Hello Ada"
    assert "See https://example.com/x, Ada." in mail.text
    kinds = await client.kinds(accepted.data["notification_id"])
    assert kinds[:2] == ["accepted", "queued"]
    assert kinds[-1] == "delivered"
    assert "looked_up" in kinds


async def test_register_template_notify_push_delivered(client: Client, fcm: FakeFcm) -> None:
    token = f"device-{uuid4().hex}"
    user = await client.register(push_token=token)
    code = await client.publish("push")

    accepted = await client.notify(user["user_id"], code, "push")

    assert (await client.settled(accepted.data["notification_id"]))["status"] == "delivered"
    (push,) = fcm.to(token)
    assert push["notification"]["title"] == "Hello Ada"


async def test_a_person_is_written_to_in_their_language_or_the_nearest_there_is(client: Client, smtp: FakeSmtp) -> None:
    user = await client.register(locale="pt-BR")
    code = await client.publish()
    await client.publish_more(code, language="pt", subject="Oi {{ name }}", body_text="Veja {{ link }}.")

    accepted = await client.notify(user["user_id"], code)
    assert (await client.settled(accepted.data["notification_id"]))["status"] == "delivered"
    assert [mail.message["Subject"] for mail in smtp.to(user["email"])] == ["Oi Ada"]

    url = f"{client.platform.users}/api/v1/users/{user['user_id']}"
    assert (await client.call("PATCH", url, token=client.admin, json={"locale": "de"})).data["locale"] == "de"

    async def in_the_default_language() -> bool:
        again = await client.notify(user["user_id"], code)
        await client.settled(again.data["notification_id"])
        return bool(smtp.to(user["email"])[-1].message["Subject"] == "Hello Ada")

    await eventually(in_the_default_language, within=10, says="the change reaches the worker")


async def test_opted_out_is_accepted_and_ends_suppressed_with_the_reason(client: Client, smtp: FakeSmtp) -> None:
    user = await client.register(preferences={"email": False, "push": True})
    code = await client.publish()

    accepted = await client.notify(user["user_id"], code)

    assert accepted.status == 202
    ended = await client.settled(accepted.data["notification_id"])
    assert ended["status"] == "suppressed"
    assert ended["reason"]
    assert smtp.to(user["email"]) == []


async def test_an_opt_out_between_two_notifications_is_honoured(client: Client, smtp: FakeSmtp) -> None:
    user = await client.register()
    code = await client.publish()
    first = await client.notify(user["user_id"], code)
    assert (await client.settled(first.data["notification_id"]))["status"] == "delivered"

    url = f"{client.platform.users}/api/v1/users/{user['user_id']}/preferences"
    changed = await client.call("PATCH", url, token=client.admin, json={"email": False})
    assert changed.status == 200

    async def suppressed() -> bool:
        accepted = await client.notify(user["user_id"], code)
        return bool((await client.settled(accepted.data["notification_id"]))["status"] == "suppressed")

    await eventually(suppressed, within=10, says="the opt-out reaches the worker")
    before = len(smtp.to(user["email"]))
    assert await suppressed()
    assert len(smtp.to(user["email"])) == before


async def test_quiet_hours_hold_a_message_until_they_end_unless_its_category_is_urgent(
    client: Client, smtp: FakeSmtp
) -> None:
    user = await client.register()
    url = f"{client.platform.users}/api/v1/users/{user['user_id']}/preferences"
    now = datetime.now(UTC)
    hours = {"start": f"{now - timedelta(hours=1):%H:%M}", "end": f"{now + timedelta(hours=2):%H:%M}"}
    quiet = await client.call("PATCH", url, token=client.admin, json={"quiet_hours": {**hours, "timezone": "UTC"}})
    assert quiet.status == 200
    news, account = await client.publish(), await client.publish(category="account")

    held = (await client.notify(user["user_id"], news)).data["notification_id"]
    urgent = (await client.notify(user["user_id"], account)).data["notification_id"]

    assert (await client.settled(urgent))["status"] == "delivered"

    async def waits() -> bool:
        return bool((await client.notification(held))["stage"] == "scheduled")

    await eventually(waits, within=20, says="the worker found the quiet hours")
    assert "waiting" in await client.kinds(held)
    assert len(smtp.to(user["email"])) == 1
    told = await client.call(
        "GET", f"{client.platform.gateway}/api/v1/notifications/{held}/explain", token=client.application
    )
    assert "It waits for the end of the user's quiet hours." in [reason["sentence"] for reason in told.data["reasons"]]


async def test_provider_down_is_retried_and_delivered(client: Client, smtp: FakeSmtp) -> None:
    user = await client.register()
    code = await client.publish()
    smtp.stop()
    try:
        accepted = await client.notify(user["user_id"], code)
        notification_id = accepted.data["notification_id"]

        async def tried() -> bool:
            kinds = await client.kinds(notification_id)
            return "attempt_failed" in kinds or "waiting" in kinds

        await eventually(tried, within=20, says="an attempt fails")
        assert (await client.notification(notification_id))["stage"] == "retrying"
    finally:
        smtp.start()
    ended = await client.settled(notification_id, within=60)
    assert ended["status"] == "delivered"
    assert len(smtp.to(user["email"])) == 1


async def test_always_refused_becomes_a_dead_letter_and_failed(client: Client, smtp: FakeSmtp) -> None:
    email = f"refused-{uuid4().hex}@example.com"
    smtp.answers[r"refused-.*"] = "550 5.1.1 no such mailbox"
    user = await client.register(email=email)
    code = await client.publish()
    accepted = await client.notify(user["user_id"], code)

    ended = await client.settled(accepted.data["notification_id"])
    assert ended["status"] == "failed"
    assert "550" in (ended["error"] or "") + (ended["reason"] or "")
    assert smtp.attempts.count(email) == 1

    async def dead_letter() -> bool:
        url = f"{client.platform.gateway}/api/v1/dead_letters/all?template_code={code}"
        return [letter["cause"] for letter in (await client.call("GET", url, token=client.admin)).data] == [
            ended["reason"]
        ]

    await eventually(dead_letter, within=15, says="the dead letter is kept")


async def test_a_temporary_refusal_is_tried_until_attempts_are_used_up(client: Client, smtp: FakeSmtp) -> None:
    email = f"busy-{uuid4().hex}@example.com"
    smtp.answers[r"busy-.*"] = "451 4.7.1 try later"
    user = await client.register(email=email)
    code = await client.publish()

    accepted = await client.notify(user["user_id"], code)

    ended = await client.settled(accepted.data["notification_id"], within=90)
    assert ended["status"] == "failed"
    assert ended["attempts"] == smtp.attempts.count(email) > 1


async def test_a_missing_variable_fails_the_notification_with_its_name(client: Client) -> None:
    user = await client.register()
    code = await client.publish(subject="Order {{ order_number }}")

    accepted = await client.notify(user["user_id"], code)

    ended = await client.settled(accepted.data["notification_id"])
    assert ended["status"] == "failed"
    assert "order_number" in ended["reason"]


def test_a_service_account_that_the_operator_names_is_never_written_to(platform: Platform, fcm: FakeFcm) -> None:
    named = Path(next(iter(platform.environments.values()))[1]["CARILLON_SERVICE_ACCOUNT_FILE"])
    assert json.loads(named.read_text())["token_uri"] == f"{fcm.url}/token"


async def test_a_dead_device_fails_the_push_and_is_marked_invalid(client: Client) -> None:
    user = await client.register(push_token=f"unregistered-{uuid4().hex}")
    code = await client.publish("push")

    first = await client.notify(user["user_id"], code, "push")
    assert (await client.settled(first.data["notification_id"]))["status"] == "failed"

    async def suppressed() -> bool:
        accepted = await client.notify(user["user_id"], code, "push")
        ended = await client.settled(accepted.data["notification_id"])
        return ended["status"] == "suppressed" or "device" in (ended["reason"] or "")

    await eventually(suppressed, within=10, says="the dead token is not tried again")


async def test_fifty_parallel_posts_with_one_request_id_make_one_notification_and_one_mail(
    client: Client, smtp: FakeSmtp
) -> None:
    user = await client.register()
    code = await client.publish()
    request_id = uuid4().hex

    answers = await asyncio.gather(*(client.notify(user["user_id"], code, request_id=request_id) for _ in range(50)))

    assert {answer.status for answer in answers} <= {200, 202}
    assert sum(answer.status == 202 for answer in answers) == 1
    (notification_id,) = {answer.data["notification_id"] for answer in answers}
    assert (await client.settled(notification_id))["status"] == "delivered"
    assert len(smtp.to(user["email"])) == 1
    other = await client.notify(user["user_id"], code, request_id=request_id, priority=9)
    assert other.status == 409
    replay = await client.notify(user["user_id"], code, request_id=request_id)
    assert (replay.status, replay.data["status"]) == (200, "delivered")


async def test_an_unknown_user_or_template_is_named(client: Client) -> None:
    user = await client.register()
    code = await client.publish()

    unknown_user = await client.notify(str(uuid4()), code)
    unknown_template = await client.notify(user["user_id"], "nowhere")

    assert (unknown_user.status, unknown_user.body["error"]) == (404, "user_not_found")
    assert (unknown_template.status, unknown_template.body["error"]) == (404, "template_not_found")
