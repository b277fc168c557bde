"""A CSV of recipients is read row by row; a bad row costs only itself."""

from pathlib import Path

import pytest

from carillon.sending.recipients import BadRow, Recipient, UnreadableFile, count, read, request_id


def rows_of(tmp_path: Path, content: bytes) -> list[Recipient | BadRow]:
    file = tmp_path / "people.csv"
    file.write_bytes(content)
    found = list(read(file))
    assert count(file) == len(found)
    return found


def test_columns_become_variables_and_lines_are_counted_from_the_heading(tmp_path: Path) -> None:
    found = rows_of(tmp_path, b"name, email ,order\r\nAda,ada@example.com,7\r\n\r\nGrace,grace@example.com,8\r\n")
    assert found == [
        Recipient(2, "ada@example.com", {"name": "Ada", "order": "7"}),
        Recipient(4, "grace@example.com", {"name": "Grace", "order": "8"}),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"Ada", "1 columns where the heading has 2"),
        (b"Ada,ada@example.com,more", "3 columns"),
        (b"Ada,nobody", "email: "),
        (b"Ada,", "email: "),
        (b"A\xffda,ada@example.com", "not UTF-8"),
        (b"Ada,ada@example.com\x00", "email: "),
        (b"A" * (1 << 21) + b",ada@example.com", "field larger"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_stops_nothing(tmp_path: Path, row: bytes, reason: str) -> None:
    found = rows_of(tmp_path, b"name,email\n" + row + b"\nGrace,grace@example.com\n")
    bad = found[0]
    assert isinstance(bad, BadRow)
    assert bad.line == 2
    assert reason in bad.reason
    assert found[-1] == Recipient(3, "grace@example.com", {"name": "Grace"})


@pytest.mark.parametrize(
    "content", [b"", b"name,address\nAda,x\n", b"email,email\na@example.com,b@example.com\n", b"email,\n"]
)
def test_a_file_without_a_proper_heading_is_refused_whole(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableFile, match="first line"):
        rows_of(tmp_path, content)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        list(read(tmp_path / "nowhere.csv"))


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert rows_of(tmp_path, b"\xef\xbb\xbfemail\nada@example.com\n") == [Recipient(2, "ada@example.com", {})]


GRACE = Recipient(5, "grace@example.com", {"name": "Grace"})


@pytest.mark.parametrize(
    "row",
    [
        b'Ada,"ada@example.com',
        b'"Ada,ada@example.com',
        b'Ada,"ada@example.com\nJoan,joan@example.com\nMary,"mary@example.com"',
    ],
)
def test_a_stray_quote_costs_its_own_row_alone(tmp_path: Path, row: bytes) -> None:
    tail = b"".join(b"P,p%d@example.com\n" % number for number in range(1_000))
    found = rows_of(tmp_path, b"name,email\n" + row + b"\nGrace,grace@example.com\n" + tail)
    bad = [each for each in found if isinstance(each, BadRow)]
    assert [each.line for each in bad] == [2]
    assert "lines 2-" in bad[0].reason
    assert "a quote is opened and not closed" in bad[0].reason
    assert len(found) == 2 + row.count(b"\n") + 1_000
    assert found[-1] == Recipient(found[-1].line, "p999@example.com", {"name": "P"})
    assert found[-1].line == len(found) + 1


def test_people_between_two_stray_quotes_never_become_somebodys_name(tmp_path: Path) -> None:
    found = rows_of(tmp_path, b'email,name\na@example.com,"Ada\nb@example.com,Bob\nc@example.com,"Cleo"\n')
    assert [row.line for row in found] == [2, 3, 4]
    assert found[1:] == [
        Recipient(3, "b@example.com", {"name": "Bob"}),
        Recipient(4, "c@example.com", {"name": "Cleo"}),
    ]


def test_a_cell_may_have_several_lines_in_quotes(tmp_path: Path) -> None:
    found = rows_of(tmp_path, b'name,email\n"Ada\r\nof ""London""\n",ada@example.com\nGrace,grace@example.com\n')
    assert found == [Recipient(2, "ada@example.com", {"name": 'Ada\r\nof "London"'}), GRACE]


def test_the_link_beside_the_file_counts_for_rows_without_their_own_alone() -> None:
    def of(own: str, beside: str | None) -> str:
        row = Recipient(2, "ada@example.com", {"link": own})
        return request_id(row, template="welcome", channel="email", link=beside)

    assert of("https://example.com/1", None) == of("https://example.com/1", "https://example.com/2")
    assert of("", None) != of("", "https://example.com/2")


def test_the_request_id_depends_on_what_is_sent_and_not_on_where_the_row_stands() -> None:
    def of(line: int, order: str, template: str = "welcome", link: str = "") -> str:
        row = Recipient(line, "ada@example.com", {"order": order})
        return request_id(row, template=template, channel="email", link=link)

    assert of(2, "7") == of(9, "7")
    assert len({of(2, "7"), of(2, "8"), of(2, "7", "other"), of(2, "7", link="https://example.com/may")}) == 4
