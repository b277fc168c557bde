"""Rules as people write them: a script of JSON, and shares on the command line. A mistake is told with its place."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from carillon.simulators.domain.rules import MOST_RULES, Kind, Moment, Rule, fault

LARGEST_SCRIPT: Final = 1 << 20


class BadScript(ValueError):
    """A rule that cannot be: the sentence tells where and why."""


def read_script(text: str, kind: Kind) -> list[Rule]:
    """One JSON object a line (blank lines and those with # are left out), or one JSON list. Raises BadScript."""
    if len(text) > LARGEST_SCRIPT:
        raise BadScript(f"a script has at most {LARGEST_SCRIPT} characters")
    if text.lstrip().startswith("["):
        found = _decoded(text, list[Any], "the script")
        rules = [_rule(msgspec.json.encode(each).decode(), f"rule {n}", kind) for n, each in enumerate(found, 1)]
    else:
        rules = [_rule(line, f"line {n}", kind) for n, line in _lines(text)]
    if len(rules) > MOST_RULES:
        raise BadScript(f"there are {len(rules)} rules; at most {MOST_RULES} are taken")
    return rules


def check(rules: Sequence[Rule], kind: Kind) -> None:
    """Raises BadScript for the first rule that makes no sense for this kind of server."""
    for number, rule in enumerate(rules, 1):
        if wrong := fault(rule, kind):
            raise BadScript(f"rule {number}: {wrong}")


def rules_of(
    options: Mapping[str, Sequence[str]], kind: Kind, *, bounce_after: float, retry_after: int | None
) -> list[Rule]:
    """What flags say: `dead` SHARE, `refuse` CODE[ TEXT]:SHARE, `hang` and `drop` WHEN:SHARE, `delay` and `drip`
    SECONDS:SHARE, `bounce` SHARE. Raises BadScript."""
    later = {"bounce": {"seconds": bounce_after}} if "bounce" in options else {}
    waits = {} if retry_after is None else {code: {"retry_after": retry_after} for code in ("429", "503")}
    return [
        _of_option(name, said, kind, further={**later, **waits})
        for name, several in options.items()
        for said in several
    ]


def _of_option(name: str, said: str, kind: Kind, *, further: Mapping[str, Mapping[str, Any]]) -> Rule:
    """`further` fields are of a deed or of a code."""
    what, colon, share = said.rpartition(":")
    if not colon and name not in {"dead", "bounce"}:
        raise BadScript(f"--{name} {said}: the share is missing, as in {said}:0.05")
    fields: dict[str, Any] = {"do": name, "share": _number(share, f"--{name} {said}: the share")}
    fields |= further.get(name, {})
    if name == "refuse":
        code, _, text = what.partition(" ")
        fields |= {"code": code, **({"text": text} if text else {}), **further.get(code, {})}
    elif name in {"hang", "drop"}:
        if what not in get_args(Moment):
            raise BadScript(f"--{name} {said}: say {_moments(name)}, as in before:0.01")
        fields["when"] = what
    elif name in {"delay", "drip"}:
        fields["seconds"] = _number(what, f"--{name} {said}: the seconds")
    elif what:
        raise BadScript(f"--{name} {said}: this takes a share alone, as in 0.05")
    try:
        rule = msgspec.convert(fields, Rule, strict=False)
    except msgspec.ValidationError as error:
        raise BadScript(f"--{name} {said}: {_sentence(error)}") from None
    if wrong := fault(rule, kind):
        raise BadScript(f"--{name} {said}: {wrong}")
    return rule


def _moments(name: str) -> str:
    return "before, during or after" if name == "drop" else "before or after"


def _number(said: str, what: str) -> float:
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadScript(f"{what} is a number")
    return number


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _rule(text: str, where: str, kind: Kind) -> Rule:
    rule: Rule = _decoded(text, Rule, where)
    if wrong := fault(rule, kind):
        raise BadScript(f"{where}: {wrong}")
    return rule


def _decoded(text: str, shape: Any, where: str) -> Any:
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        raise BadScript(f"{where}: {_sentence(error)}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadScript(f"{where}: no JSON: {error}") from None


def _sentence(error: msgspec.ValidationError) -> str:
    reason, _, place = str(error).partition(" - at `$")
    field = place.strip("`.")
    if "matching regex" in reason:
        reason = "has characters that are not allowed here"
    return f"{field}: {reason}" if field else reason
