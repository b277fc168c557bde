"""Templates are strict about what is missing, bounded in what they may cost, and escape what they are given."""

import contextlib
import string
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.rendering import (
    MOST_OUTPUT,
    BrokenTemplate,
    Compiled,
    MissingVariable,
    RenderFailed,
    is_http_url,
    single_line,
)


def render(source: str, *, html: bool = False, **variables: Any) -> str:
    return Compiled(source, html=html).render(variables)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Hello {{ name }}!\n", "Hello Ada!\n"),
        ("{{ order.total }} {{ order['total'] }} {{ items[0] }}", "5 5 a"),
        ("{% for i in items %}{{ loop.index }}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}", "1a, 2b"),
        ("{% for i in items if i != 'a' %}{{ loop.cycle('x', 'y') }}{% else %}none{% endfor %}", "x"),
        ("{% if order.total > 3 and name in ['Ada', 'Bob'] %}big{% elif name %}small{% endif %}", "big"),
        ("{{ nick|default('you') }} {{ nick is defined }}", "you False"),
        ("{{ items|join(', ') }} {{ name|replace('d', '-')|upper }} {{ items|length }}", "a, b A-A 2"),
        ("{{ name ~ '!' }} {{ order.total + 1 }} {{ order.total is divisibleby(5) }}", "Ada! 6 True"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}{# not shown #}", "012"),
        ("{{ nothing }}|{{ '{{' }}|{{- name -}} |", "|{{|Ada|"),
        ("{{ 'it\\'s }}' }}", "it's }}"),
    ],
)
def test_a_template_is_filled_in(source: str, expected: str) -> None:
    assert render(source, name="Ada", order={"total": 5}, items=["a", "b"], nothing=None) == expected


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("Hi\n{{ name }}", "name"),
        ("{{ order.total }}", "order.total"),
        ("{{ order.lines[0].price }}", "order.lines"),
        ("{{ 1 + name }}", "name"),
        ("{% if name %}x{% endif %}", "name"),
        ("{% for x in name %}x{% endfor %}", "name"),
        *((f"{{{{ name|{f} }}}}", "name") for f in ("upper", "join", "first", "e", "truncate", "urlencode", "sort")),
        ("{{ order.total|join(', ')|upper }}", "order.total"),
        ("{{ order['total']|list }}", "order['total']"),
    ],
)
def test_a_missing_variable_is_named_wherever_it_is_used(source: str, name: str) -> None:
    with pytest.raises(MissingVariable) as raised:
        render(source, order={})
    assert raised.value.name == name


def test_html_escapes_what_it_is_given_and_text_does_not() -> None:
    hostile = "<script>alert('1')</script>&\""

    assert "<" not in render("{{ x }}", html=True, x=hostile).replace("&lt;", "")
    assert render("{{ x }}", html=True, x='a" onload="b') == "a&quot; onload=&quot;b"
    assert render("{{ x|safe }}", html=True, x="<b>") == "<b>"
    assert render("{{ x }}", x=hostile) == hostile
    assert render("{{ x }}", html=True, x="https://example.com/a?b=1&c=2") == "https://example.com/a?b=1&amp;c=2"


def test_control_characters_are_dropped_and_line_breaks_stay() -> None:
    assert render("{{ x }}", x="a\x00b\x07c\r\nd\te\x1b\x7f") == "abc\r\nd\te"
    assert render("{{ '\\u0000' }}x") == "x"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("{{ name", 1),
        ("a\nb {{ name }", 2),
        ("{% if a %}\n", 1),
        ("\n\n{% endif %}", 3),
        ("{{ a;b }}", 1),
        ("{# x", 1),
        ("{{ a|nonsense }}", 1),
        ("{{ debug() }}", 1),
        ("{{ a.upper() }}", 1),
        ("{{ a.range(3) }}", 1),
        ("{% for x in a recursive %}{% endfor %}", 1),
        ("{% raw %}{% endraw %}", 1),
        ("{{ a %}", 1),
        ("{% if a }}{% endif %}", 1),
    ],
)
def test_a_broken_template_tells_its_line(source: str, line: int) -> None:
    with pytest.raises(BrokenTemplate) as raised:
        Compiled(source)
    assert raised.value.line == line
    assert raised.value.reason


@pytest.mark.parametrize(
    "source",
    [
        "{% set s = 'xxxxxxxxxx' %}" + "{% set s = s ~ s %}" * 40,
        "{% with s = a ~ a %}{{ s }}{% endwith %}",
        "{% macro m() %}{{ a }}{{ a }}{% endmacro %}",
        "{% filter upper %}{% endfilter %}",
        "{% include 'x' %}",
        "{% for b in [a ~ a] %}{% for c in [b ~ b] %}{{ c }}{% endfor %}{% endfor %}",
        "{% for b in [[a, a]] %}{{ b }}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ 10 ** 100000 }}",
        "{{ {'a': a} }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ a|indent(1000000000) }}",
        "{{ a|batch(1000000000, 'x') }}",
        "{{ a|tojson|tojson }}",
        "{{ a|split('x') }}",
        "{{ a|replace('', a) }}",
        "{{ a|replace('a', 'aaaaaaaaaa')|replace('a', 'aaaaaaaaaa') }}",
        "{{ a|join(a) }}",
        "{{ a|join('x' ~ a) }}",
        "{{ a|join('" + "x" * 21 + "') }}",
        "{{ a" + "|e" * 11 + " }}",
        "{{ " + "1 + " * 20_000 + "1 }}",
        "{% if 0 %}" + "{% elif 0 %}" * 20_000 + "{% endif %}",
        "{% if a %}" * 1_000 + "{% endif %}" * 1_000,
        "{{ " + "(" * 150 + "1" + ")" * 150 + " }}",
    ],
)
def test_what_could_grow_without_bound_is_refused_before_it_runs(source: str) -> None:
    with pytest.raises(BrokenTemplate):
        Compiled(source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for i in range(99999) %}{{ big }}{% endfor %}", "exceeds"),
        ("{{ big }}" * 20, "exceeds"),
        ("{{ many }}{{ many }}{{ many }}", "exceeds"),
        ("{% for i in range(20000) %}" + "x" * 10_000 + "{% endfor %}", "too much work"),
        ("{% for i in range(999) %}{% for j in range(999) %}{% endfor %}{% endfor %}", "too much work"),
        ("{{ 5|first }}", "line 1"),
        ("\n{{ 'a' + 1 }}", "line 2"),
    ],
)
def test_a_rendering_that_costs_too_much_or_fails_says_why(source: str, reason: str) -> None:
    with pytest.raises(RenderFailed, match=reason):
        render(source, big="x" * (MOST_OUTPUT // 10), many=["xxxx"] * (MOST_OUTPUT // 16))


def test_a_long_but_honest_list_is_rendered() -> None:
    items = [{"name": f"Item {n}", "price": n} for n in range(500)]

    text = render("{% for i in items %}<tr><td>{{ i.name }}</td><td>{{ i.price }}</td></tr>\n{% endfor %}", items=items)

    assert text.count("\n") == 500


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": "\ud800"}])
def test_anything_but_plain_data_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(RenderFailed, match="plain"):
        Compiled("{{ x }}").render(bad)


def test_a_template_renders_again_after_a_failure() -> None:
    compiled = Compiled("{% for i in range(n) %}{{ text }}{% endfor %}")

    with pytest.raises(RenderFailed):
        compiled.render({"n": 99_999, "text": "x" * 1000})
    with pytest.raises(MissingVariable):
        compiled.render({"n": 1})
    assert compiled.render({"n": 3, "text": "ab"}) == "ababab"
    assert compiled.names() == {"n", "text"}


_PIECES = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            "-",
            " ",
            "a",
            "b.c",
            "|",
            "upper",
            "join",
            "('x')",
            "if",
            "else",
            "endif",
        ),
        *(
            "for x in a",
            "endfor",
            "'",
            '"',
            "\\",
            "[",
            "]",
            "1",
            "~",
            "+",
            "*",
            "(",
            ")",
            "\n",
            "raw",
            "set a = b",
            "é",
        ),
    ]
)


@given(st.lists(_PIECES, max_size=30).map("".join))
def test_any_source_compiles_or_is_refused_and_never_breaks(source: str) -> None:
    try:
        compiled = Compiled(source)
    except BrokenTemplate:
        return
    with contextlib.suppress(MissingVariable, RenderFailed):
        assert len(compiled.render({"a": "text", "b": {"c": [1, 2]}})) <= MOST_OUTPUT


@given(st.text(st.characters(codec="utf-8"), max_size=50))
def test_a_single_line_can_continue_no_header(text: str) -> None:
    line = single_line(text)

    assert len(line.splitlines()) <= 1
    assert not any(c in line for c in "\r\n\x00\x0b\x0c\x85\u2028\u2029")
    assert line == line.strip()


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("https://example.com/a?b=c#d", True),
        ("http://localhost:8000/docs", True),
        ("HTTPS://EXAMPLE.COM", True),
        ("https://[::1]/x", True),
        ("javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("https://", False),
        ("https:///path", False),
        ("//example.com", False),
        ("ftp://example.com", False),
        ("https://exa mple.com", False),
        ("https://example.com/\r\nBcc: x", False),
        ("https://example.com:99999/", False),
        ("https://[::1", False),
        ("data:text/html,x", False),
        ("https://example.com/" + "x" * 3000, False),
        ("", False),
    ],
)
def test_only_absolute_http_addresses_count(text: str, *, valid: bool) -> None:
    assert is_http_url(text) is valid


@given(st.from_regex(r"https?://[a-zA-Z0-9.:@\-\[\]]{0,12}[/?#]?[\x20-\x7f]{0,12}", fullmatch=True))
def test_what_counts_as_an_address_has_a_scheme_a_host_and_a_port_if_any(text: str) -> None:
    try:
        parts = urlsplit(text)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False

    assert is_http_url(text) is (sound and text.isprintable() and " " not in text)


def test_every_printable_character_survives_in_text() -> None:
    assert render("{{ x }}", x=string.printable.replace("\x0b", "").replace("\x0c", "")).startswith("0123")
