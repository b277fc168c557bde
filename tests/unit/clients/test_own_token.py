"""The file of a service's own token holds one token, or the process says what to do about it."""

from pathlib import Path

import pytest

from carillon.clients.own_token import own_token
from carillon.kit.settings import SettingsError


def test_the_line_is_the_token(tmp_path: Path) -> None:
    file = tmp_path / "gateway.token"
    file.write_text("crl_gateway\n")
    assert own_token(file, "gateway") == "crl_gateway"


@pytest.mark.parametrize(
    "content", ["", "secret", "crl_one\ncrl_two\n", "crl_\x00secret", "crl_secr\u00e9t", "crl_a b"]
)
def test_anything_else_is_refused_unquoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "gateway.token"
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"^CARILLON_GATEWAY_TOKEN_FILE: .*carillon migrate") as told:
        own_token(file, "gateway")
    assert "secr" not in str(told.value)
