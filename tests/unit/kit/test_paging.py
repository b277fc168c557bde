"""Pages and cursors: what comes next, and what is no cursor of this list."""

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.errors import Invalid
from carillon.kit.http import paging
from carillon.kit.http.paging import DEEPEST, list_name, wanted

LIST = list_name("/users", "active", None)
KEY = UUID("01a1d1a0-0000-7000-8000-000000000001")


def test_a_cursor_goes_on_where_the_page_before_ended() -> None:
    cursor = paging._sealed(KEY, 7, LIST)

    asked = wanted(LIST, page=None, limit=20, cursor=cursor)

    assert (asked.after, asked.number, asked.offset, asked.fetched) == (KEY, 7, 0, 21)


def test_pages_count_from_the_first() -> None:
    assert wanted(LIST, page=3, limit=20, cursor=None).offset == 40
    assert wanted(LIST, page=None, limit=20, cursor=None).offset == 0


def test_a_page_past_the_deepest_names_the_cursor() -> None:
    assert wanted(LIST, page=DEEPEST // 100, limit=100, cursor=None).offset == DEEPEST - 100
    with pytest.raises(Invalid, match="cursor"):
        wanted(LIST, page=DEEPEST // 100 + 1, limit=100, cursor=None)


def test_a_page_and_a_cursor_contradict_each_other() -> None:
    with pytest.raises(Invalid):
        wanted(LIST, page=1, limit=20, cursor=paging._sealed(KEY, 2, LIST))


@pytest.mark.parametrize("position", range(28))
def test_a_cursor_with_one_bit_changed_is_refused(position: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(paging._sealed(KEY, 2, LIST) + "=="))
    raw[position] ^= 1
    with pytest.raises(Invalid):
        wanted(LIST, page=None, limit=20, cursor=base64.urlsafe_b64encode(raw).decode())


def test_a_cursor_of_other_filters_is_refused() -> None:
    with pytest.raises(Invalid):
        wanted(list_name("/users", "suspended", None), page=None, limit=20, cursor=paging._sealed(KEY, 2, LIST))


@given(st.text(max_size=100))
def test_no_text_is_a_cursor_by_chance(text: str) -> None:
    with pytest.raises(Invalid):
        wanted(LIST, page=None, limit=20, cursor=text)
