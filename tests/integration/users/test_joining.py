"""Registering and contacts: one person per address, whatever arrives at once."""

from tests.integration.users.client import UsersApi


async def test_a_person_registers_by_the_brief_and_is_shown_without_password(api: UsersApi) -> None:
    answer = await api.register(
        name="Ada Lovelace",
        email="Ada@Example.com",
        push_token="device-1",
        preferences={"email": True, "push": False},
    )

    assert answer.status == 201
    user = answer.data
    assert (user["name"], user["email"], user["push_token"]) == ("Ada Lovelace", "Ada@example.com", "device-1")
    assert user["preferences"] == {"email": True, "push": False}
    assert user["status"] == "active"
    assert "password" not in str(answer.body)
    assert "argon2" not in str(answer.body)
