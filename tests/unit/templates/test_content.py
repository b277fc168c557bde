"""What a published template becomes for one recipient, and what is said of variables that do not fit."""

from typing import Any

import pytest

from carillon.contracts.rendering import (
    BrokenTemplate,
    CompiledTemplates,
    MissingVariable,
    RenderFailed,
    compile_content,
    missing_variables,
    render_content,
)
from carillon.contracts.templates import Content, PublishedTemplate, Variable


def published(variables: dict[str, Variable] | None = None, **content: str) -> PublishedTemplate:
    return PublishedTemplate(
        code="t",
        channel="push" if "title" in content else "email",
        language="en",
        version=1,
        category=None,
        at_most_once=False,
        content=Content(**content),
        variables=variables or {},
    )


def rendered(template: PublishedTemplate, **variables: Any) -> Content:
    return render_content(template, variables, cache=CompiledTemplates())


def missing(template: PublishedTemplate, **variables: Any) -> list[str]:
    return missing_variables(template, variables, cache=CompiledTemplates())


def test_each_part_is_rendered_and_only_html_is_escaped() -> None:
    content = rendered(published(subject="Hi {{ n }}", body_text="{{ n }}", body_html="<i>{{ n }}</i>"), n="<b>")

    assert content == Content(subject="Hi <b>", body_text="<b>", body_html="<i>&lt;b&gt;</i>")


def test_no_subject_or_title_can_smuggle_a_header_in() -> None:
    hostile = "x\r\nBcc: victim@example.com\u2028y\x0bz"

    assert rendered(published(subject="Hi {{ n }}\n", body_text="."), n=hostile).subject == (
        "Hi x Bcc: victim@example.com yz"
    )
    assert rendered(published(title="{{ n }}", body="."), n=hostile).title == "x Bcc: victim@example.com yz"


def test_link_and_image_are_http_addresses_or_absent() -> None:
    template = published(title="t", body="b", link="{{ link }}", image="{{ image|default('') }}")

    content = rendered(template, link=" https://example.com/x ")
    assert (content.link, content.image) == ("https://example.com/x", None)
    for hostile in ("javascript:alert(1)", "example.com", "ftp://example.com"):
        with pytest.raises(RenderFailed, match="link is no http"):
            rendered(template, link=hostile)


def test_a_required_variable_that_is_absent_or_null_is_missing() -> None:
    template = published({"tier": Variable()}, subject="s", body_text="b")

    for given in ({}, {"tier": None}):
        with pytest.raises(MissingVariable) as raised:
            rendered(template, **given)
        assert raised.value.name == "tier"
        assert missing(template, **given) == ["tier"]
    assert rendered(published({"tier": Variable(required=False)}, subject="s", body_text="b")).subject == "s"


@pytest.mark.parametrize(
    ("kind", "fits", "others"),
    [
        ("string", ["a", 5, ""], [[], {}]),
        ("number", [5, 5.5, "5", "-1.5"], ["five", True, [], {}, ""]),
        ("boolean", [True, "false"], ["perhaps", 1, []]),
        ("object", [{}], ["{}", []]),
        ("array", [[]], ["[]", {}]),
    ],
)
def test_a_variable_of_another_type_fails_by_its_name(kind: Any, fits: list[Any], others: list[Any]) -> None:
    template = published({"v": Variable(kind)}, subject="s", body_text="b")

    for value in fits:
        assert rendered(template, v=value).subject == "s"
    for value in others:
        with pytest.raises(RenderFailed, match="variable v is not of type"):
            rendered(template, v=value)


@pytest.mark.parametrize(
    ("source", "given", "names"),
    [
        ("{{ a }}{{ b }}{{ a }}", {}, ["a", "b"]),
        ("{{ a }}{{ b|default('x') }}{{ c is defined }}", {}, ["a"]),
        ("{{ o.a }}{{ o.b.c }}", {}, ["o.a", "o.b.c"]),
        ("{{ o.a }}{{ o.b.c }}", {"o": {"a": 1}}, ["o.b.c"]),
        ("{% if vip %}{{ title }}{% else %}{{ plea }}{% endif %}", {}, ["vip", "plea", "title"]),
        ("{% if vip %}{{ title }}{% else %}{{ plea }}{% endif %}", {"vip": True}, ["title"]),
        ("{% for i in items %}{{ i.name }}{% endfor %}{{ z }}", {}, ["items", "z"]),
        ("{% for i in items %}{{ i.name }}{% endfor %}", {"items": [{}]}, ["i.name"]),
        ("{{ n + 1 }}{{ n|round }}{{ z }}", {}, ["n", "z"]),
        ("{{ o['k'] }}{{ z }}", {}, ["o.k", "z"]),
        ("fine {{ a }}", {"a": 1}, []),
    ],
)
def test_every_missing_variable_is_named(source: str, given: dict[str, Any], names: list[str]) -> None:
    template = published(subject="s", body_text=source)

    assert missing(template, **given) == names


def test_every_missing_variable_of_every_part_is_named_and_nothing_given_is_touched() -> None:
    variables: dict[str, Any] = {"o": {"x": 1}}

    assert missing(published(subject="{{ a }}", body_text="{{ b }}{{ o.y.z }}", body_html="{{ c }}"), **variables) == [
        *("a", "b", "o.y.z", "c")
    ]
    assert variables == {"o": {"x": 1}}


def test_a_compiled_template_is_kept_and_the_oldest_leaves_first() -> None:
    cache = CompiledTemplates(capacity=2)
    one, two, three = (Content(subject=str(n), body_text="{{ x }}") for n in range(3))
    first = cache.of(one)
    second = cache.of(two)

    assert cache.of(one) is first
    cache.of(three)
    assert cache.of(one) is first
    assert cache.of(two) is not second


def test_a_version_that_does_not_compile_fails_its_rendering_with_the_line() -> None:
    with pytest.raises(RenderFailed, match="line 2"):
        rendered(published(subject="s", body_text="\n{{"))
    with pytest.raises(BrokenTemplate) as raised:
        compile_content(Content(subject="fine", body_html="{{"))
    assert raised.value.__notes__ == ["body_html"]
