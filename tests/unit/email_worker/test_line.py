"""What goes over the line as content: CRLF only, leading dots doubled, a dot at the end."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.email_worker.providers.line import stuffed


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"", b"\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\n.b\r\n", b"a\r\n..\r\n..b\r\n.\r\n"),
        (b"a\n.\nMAIL FROM:<x>\n", b"a\r\n..\r\nMAIL FROM:<x>\r\n.\r\n"),
        (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
    ],
)
def test_the_content_is_put_as_data_carries_it(content: bytes, wire: bytes) -> None:
    assert stuffed(content) == wire


@given(st.text(alphabet=st.sampled_from("a.\r\n")).map(str.encode))
def test_no_content_ends_before_its_end(content: bytes) -> None:
    wire = stuffed(content)
    lines = wire.split(b"\r\n")

    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    meant = re.split(rb"\r\n|\r|\n", content)
    assert [line.removeprefix(b".") if line.startswith(b"..") else line for line in lines[:-2]] == (
        meant[:-1] if meant[-1] == b"" and len(meant) > 1 else meant
    )
