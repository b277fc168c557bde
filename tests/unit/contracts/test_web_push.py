"""An endpoint of Web Push is a public name behind `https`, whatever it is dressed up as."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.web_push import NotPublic, public_endpoint

PUBLIC = [
    "https://fcm.googleapis.com/fcm/send/c1K:APA91b",
    "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
    "https://web.push.apple.com/QOXq",
    "https://wns2-par02p.notify.windows.com/w/?token=BQYAAA%3d%3d",
    "https://xn--bcher-kva.ch/push",
    "https://10.example.com/",
    "https://0x7f.example.com/",
]
INSIDE = [
    "http://push.example.com/x", "//push.example.com/x", "push.example.com", "ftp://push.example.com/", "file:///etc/passwd",
    "https:push.example.com/x", "https:///x", "https://", "", "javascript:alert(1)",
    "https://user@push.example.com/", "https://user:pass@push.example.com/", "https://push.example.com@127.0.0.1/",
    "https://127.0.0.1\\@push.example.com/", "https://push.example.com\\.evil.com/", "https://push.example.com/\\x",
    "https://push.example.com#@127.0.0.1/", "https://push.example.com/#fragment", "https://push.example.com?x=1",
    "https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://a.localhost/", "https://printer.local/",
    "https://metadata.google.internal/", "https://users/", "https://users.default.svc/", "https://a.home.arpa/",
    "https://db.corp/", "https://router.lan/", "https://x.test/", "https://x.invalid/",
    "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0X7F.0.0.1/",
    "https://0177.0.0.1/", "https://017700000001/", "https://127.0.0.1./", "https://0/", "https://10.0.0.1/",
    "https://a.0x/", "https://push.example.com.0x7f/", "https://192.168.1.1:443/", "https://169.254.169.254/latest/",
    "https://8.8.8.8/",
    "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://[fd00::1]/", "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/", "https://[::]/", "https://[fe80::1%25eth0]/", "https://[2001:4860:4860::8888]/",
    "https://push.example.com:80/", "https://push.example.com:22/", "https://push.example.com:0443/",
    "https://push.example.com:99999/", "https://push.example.com:/x", "https://push.example.com:443@127.0.0.1/",
    "https://push.example.com /x", " https://push.example.com/x", "https://push.example.com/x\n",
    "https://push.example.com/\r\nHost: x", "https://push.example.com/\x00", "https://push.example.com/ä",
    "https://\uff11\uff12\uff17.0.0.1/", "https://①②⑦.0.0.1/", "https://loca\u200dlhost.com/", "https://bücher.ch/",
    "https://%6c%6f%63alhost/", "https://a..com/", "https://.com/", "https://-a.com/", "https://a-.com/",
    f"https://{'a' * 64}.com/", f"https://{'a.' * 130}com/", f"https://push.example.com/{'x' * 2048}",
    "https://push_service.example.com/",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", PUBLIC)
def test_what_push_services_give_is_taken_as_it_is(endpoint: str) -> None:
    assert public_endpoint(endpoint) == endpoint


@pytest.mark.parametrize("endpoint", INSIDE)
def test_whatever_may_lead_inside_is_refused_without_being_quoted(endpoint: str) -> None:
    with pytest.raises(NotPublic) as refused:
        public_endpoint(endpoint)

    assert len(endpoint) < 12 or endpoint not in str(refused.value)


@given(address=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), path=st.text("abc/", max_size=5))
def test_no_address_is_a_name(address: ipaddress.IPv4Address | ipaddress.IPv6Address, path: str) -> None:
    number = int(address)
    spellings = [str(address), f"[{address}]", str(number), hex(number), f"0{number:o}", address.reverse_pointer]
    if isinstance(address, ipaddress.IPv4Address):
        spellings += [f"[::ffff:{address}]", ".".join(f"0x{byte:x}" for byte in address.packed)]
        spellings += [".".join(f"0{byte:o}" for byte in address.packed), f"{address}.", f"{address.packed[0]}.{number}"]
    for host in spellings:
        with pytest.raises(NotPublic):
            public_endpoint(f"https://{host}/{path}")


@given(text=st.text(max_size=40))
def test_any_text_is_taken_or_refused_and_what_is_taken_has_one_spelling(text: str) -> None:
    for candidate in (text, f"https://{text}", f"https://push.example.com/{text}"):
        try:
            kept = public_endpoint(candidate)
        except NotPublic:
            continue
        assert public_endpoint(kept) == kept
        assert kept.isascii()
        assert kept.isprintable()


def test_spellings_of_one_endpoint_are_one() -> None:
    for spelled in ("HTTPS://Push.Example.COM/Abc", "https://push.example.com:443/Abc"):
        assert public_endpoint(spelled) == "https://push.example.com/Abc"
    assert public_endpoint("https://push.example.com") == "https://push.example.com/"
