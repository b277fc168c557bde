"""Scripts and flags become rules; what is wrong with them is said with its place, and nothing crashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.simulators.domain.rules import Rule
from carillon.simulators.domain.scripts import BadScript, read_script, rules_of

LINES = """
# the first two tries of everybody
{"do": "refuse", "code": 451, "text": "4.7.1 Greylisted", "times_each": 2}

{"do": "drop", "when": "during", "nth": 7}
"""


def test_lines_and_a_list_are_the_same_rules() -> None:
    of_lines = read_script(LINES, "smtp")
    of_list = read_script(
        '[{"do":"refuse","code":451,"text":"4.7.1 Greylisted","times_each":2},{"do":"drop","when":"during","nth":7}]',
        "smtp",
    )

    assert of_lines == of_list
    assert of_lines == [
        Rule(do="refuse", code=451, text="4.7.1 Greylisted", times_each=2),
        Rule(do="drop", when="during", nth=7),
    ]
    assert read_script("", "smtp") == []


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('{"do": "refuse", "code": 250}', "line 1: code: Expected `int` >= 400"),
        ('\n{"do": "explode"}', "line 2: do: Invalid enum value 'explode'"),
        ('{"do": "hang", "colour": "red"}', "line 1: Object contains unknown field `colour`"),
        ('{"do": "refuse", "code": 451}\n{"do"', "line 2: no JSON"),
        ('{"do": "refuse", "code": 550, "text": "a\\r\\nb"}', "line 1: text: has characters"),
        ('{"do": "drop", "share": 1.5}', "line 1: share: Expected `float` <= 1"),
        ('{"do": "drop", "nth": 0}', "line 1: nth: Expected `int` >= 1"),
        ('{"do": "bounce", "when": "after"}', "line 1: bounce takes no when"),
        ('[{"do": "drop"}, {"do": "refuse"}]', "rule 2: refuse needs a code"),
        ("[1]", "rule 1: Expected `object`"),
        ("[", "the script: no JSON"),
        ("[" * 100_000, "the script: no JSON"),
        ('{"do": "accept"}\n' * 1_001, "there are 1001 rules"),
        ("#" * (1 << 20) + "#", "at most"),
        ("\ud800", "line 1: no JSON"),
    ],
)
def test_a_bad_script_says_where_and_why(script: str, says: str) -> None:
    with pytest.raises(BadScript) as raised:
        read_script(script, "smtp")

    assert says in str(raised.value)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(script: str) -> None:
    try:
        said = str(read_script(script, "fcm"))
    except BadScript as error:
        said = str(error)

    assert "\n" not in said


def test_flags_become_rules() -> None:
    options = {
        "refuse": ["550:0.05", "451 4.7.1 Later: please:0.1"],
        "hang": ["after:0.01"],
        "drip": ["2.5:1"],
        "dead": ["0.2"],
        "bounce": ["0.3"],
    }

    rules = rules_of(options, "smtp", bounce_after=4, retry_after=None)

    assert rules == [
        Rule(do="refuse", code=550, share=0.05),
        Rule(do="refuse", code=451, text="4.7.1 Later: please", share=0.1),
        Rule(do="hang", when="after", share=0.01),
        Rule(do="drip", seconds=2.5),
        Rule(do="dead", share=0.2),
        Rule(do="bounce", seconds=4, share=0.3),
    ]


def test_retry_after_is_for_refusals_that_pass() -> None:
    rules = rules_of({"refuse": ["429:0.1", "404:0.1"]}, "fcm", bounce_after=0, retry_after=7)

    assert [rule.retry_after for rule in rules] == [7, None]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("refuse", "550"),
        ("refuse", "550:often"),
        ("refuse", "550:nan"),
        ("refuse", "250:0.5"),
        ("refuse", "abc:0.5"),
        ("refuse", "550 caf\u00e9:0.5"),
        ("refuse", "550:-0.1"),
        ("hang", "during:0.5"),
        ("drop", "later:0.5"),
        ("drop", "0.5"),
        ("delay", "slow:0.5"),
        ("delay", "-1:0.5"),
        ("drip", "inf:0.5"),
        ("dead", "550:0.5"),
        ("bounce", ""),
    ],
)
def test_a_bad_flag_is_named(name: str, said: str) -> None:
    with pytest.raises(BadScript) as raised:
        rules_of({name: [said]}, "smtp", bounce_after=1, retry_after=None)

    assert f"--{name} {said}" in str(raised.value)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), 1e9])
def test_bounces_come_after_some_seconds(seconds: float) -> None:
    with pytest.raises(BadScript, match="--bounce"):
        rules_of({"bounce": ["0.5"]}, "smtp", bounce_after=seconds, retry_after=None)
