"""Webhooks: where they may go, what they are called and how they are signed."""

import hashlib
import hmac

import httpx
import pytest

from hopper.model.webhook import Target, allowed, delivery_of, is_pattern, signature, target_of

ALLOWED = {
    "the host": ("https://hooks.example.com/x", ["hooks.example.com"]),
    "one of several": ("https://b.example.com/x", ["a.example.com", "b.example.com"]),
    "the host at another port": ("http://hooks.example.com:8080/", ["hooks.example.com"]),
    "host and port": ("http://hooks.example.com:8080/", ["hooks.example.com:8080"]),
    "host and implied port of https": ("https://hooks.example.com", ["hooks.example.com:443"]),
    "host and implied port of http": ("http://hooks.example.com/?q", ["hooks.example.com:80"]),
    "an empty port": ("http://hooks.example.com:/", ["hooks.example.com:80"]),
    "another case of the url": ("HTTPS://Hooks.Example.COM/X", ["hooks.example.com"]),
    "another case of the pattern": ("https://hooks.example.com/", ["Hooks.Example.Com"]),
    "spaces around the pattern": ("https://hooks.example.com/", [" hooks.example.com "]),
    "below a domain": ("https://a.example.com/", ["*.example.com"]),
    "deep below a domain": ("https://a.b.example.com/", ["*.example.com"]),
    "below a domain at a port": ("https://a.example.com:8443/", ["*.example.com:8443"]),
    "an address": ("http://127.0.0.1:9000/", ["127.0.0.1:9000"]),
    "an IPv6 address": ("http://[::1]:9000/", ["[::1]:9000"]),
    "an IPv6 address at any port": ("http://[::1]:9000/", ["[::1]"]),
    "an IPv6 address without brackets": ("http://[::1]:9000/", ["::1"]),
    "an IPv6 address written at length": ("http://[0:0:0:0:0:0:0:1]/", ["::1"]),
    "an IPv6 pattern written at length": ("http://[2001:db8::A]/", ["[2001:0DB8:0:0:0:0:0:a]"]),
    "a name of one word": ("http://collector/", ["collector"]),
}

REFUSED = {
    "nobody is allowed": ("https://hooks.example.com/", []),
    "another host": ("https://evil.com/", ["hooks.example.com"]),
    "a host that ends like it": ("https://evilhooks.example.com/", ["hooks.example.com"]),
    "a host that begins like it": ("https://hooks.example.com.evil.com/", ["hooks.example.com"]),
    "another port": ("http://hooks.example.com:81/", ["hooks.example.com:80"]),
    "the implied port of another scheme": ("https://hooks.example.com/", ["hooks.example.com:80"]),
    "the domain itself": ("https://example.com/", ["*.example.com"]),
    "a domain that ends like it": ("https://evilexample.com/", ["*.example.com"]),
    "nothing below the domain": ("https://.example.com/", ["*.example.com"]),
    "another port below a domain": ("https://a.example.com/", ["*.example.com:8443"]),
    "an address below a domain of numbers": ("http://127.0.0.1/", ["*.0.0.1"]),
    "a user": ("https://me@hooks.example.com/", ["hooks.example.com"]),
    "a user and a password": ("https://hooks.example.com:pw@evil.com/", ["hooks.example.com", "evil.com"]),
    "an empty user": ("https://@hooks.example.com/", ["hooks.example.com"]),
    "another scheme": ("ftp://hooks.example.com/", ["hooks.example.com"]),
    "a file": ("file:///etc/passwd", ["*.example.com", ""]),
    "no scheme": ("hooks.example.com/x", ["hooks.example.com"]),
    "no host": ("https:///x", ["hooks.example.com", ""]),
    "nothing": ("", ["hooks.example.com", ""]),
    "a backslash": ("https://evil.com\\@hooks.example.com/", ["hooks.example.com", "evil.com"]),
    "a line break": ("https://hooks.example.com/\r\nHost: evil.com", ["hooks.example.com"]),
    "a tab inside the host": ("https://hooks.exa\tmple.com/", ["hooks.example.com"]),
    "a space before": (" https://hooks.example.com/", ["hooks.example.com"]),
    "a host that is percent-encoded": ("https://hooks%2eexample.com/", ["hooks.example.com"]),
    "a host beyond ASCII": ("https://hooks.example\u3002com/", ["hooks.example.com"]),
    "a final dot": ("https://hooks.example.com./", ["hooks.example.com"]),
    "an address as one number": ("http://2130706433/", ["127.0.0.1"]),
    "an address in hexadecimal": ("http://0x7f.1/", ["127.0.0.1"]),
    "an IPv4 address inside an IPv6 one": ("http://[::ffff:127.0.0.1]/", ["127.0.0.1"]),
    "another IPv6 address": ("http://[::2]/", ["[::1]"]),
    "another port of an IPv6 address": ("http://[::1]:81/", ["[::1]:80"]),
    "an IPv6 zone": ("http://[fe80::1%25eth0]/", ["fe80::1"]),
    "brackets that do not close": ("http://[::1/", ["[::1]", "::1"]),
    "a port that is none": ("http://hooks.example.com:http/", ["hooks.example.com"]),
    "a port too large": ("http://hooks.example.com:65536/", ["hooks.example.com"]),
    "port 0": ("http://hooks.example.com:0/", ["hooks.example.com"]),
    "a star for everything": ("https://hooks.example.com/", ["*"]),
    "a star within": ("https://hooks.example.com/", ["hooks.*.com", "*example.com"]),
    "a pattern that is a url": ("https://hooks.example.com/", ["https://hooks.example.com"]),
    "a pattern whose bracket does not close": ("http://[::1]/", ["[::1", "[::1]x"]),
    "an empty pattern": ("https://hooks.example.com/", ["", " ", ":443", "*."]),
}


@pytest.mark.parametrize(("url", "patterns"), ALLOWED.values(), ids=ALLOWED.keys())
def test_a_url_is_allowed_that_leads_to_a_host_of_the_list(url, patterns):
    assert allowed(url, patterns)
    assert not allowed(url, [])


@pytest.mark.parametrize(("url", "patterns"), REFUSED.values(), ids=REFUSED.keys())
def test_a_url_is_refused_that_leads_elsewhere_or_may_lead_anywhere(url, patterns):
    assert not allowed(url, patterns)


PATTERNS = [
    "hooks.example.com",
    "Hooks.Example.com:8443",
    "*.example.com",
    "*.example.com:443",
    "10.0.0.1",
    "::1",
    "[::1]:80",
]
NO_PATTERNS = {
    "empty": "",
    "a star": "*",
    "a star within": "hooks.*.com",
    "a star without a dot": "*example.com",
    "a url": "https://hooks.example.com",
    "a path": "hooks.example.com/x",
    "no domain": "*.",
    "a port alone": ":443",
    "a port in words": "hooks.example.com:https",
    "a port too large": "hooks.example.com:65536",
    "port 0": "hooks.example.com:0",
    "an empty port": "hooks.example.com:",
    "an open bracket": "[::1",
    "more after a bracket": "[::1]x",
    "two in one": "a.example b.example",
    "a user": "me@hooks.example.com",
    "half an address": "1::2::3",
}


@pytest.mark.parametrize("pattern", [*PATTERNS, *(pattern for _, some in ALLOWED.values() for pattern in some)])
def test_what_allows_a_host_is_a_pattern(pattern):
    assert is_pattern(pattern)


@pytest.mark.parametrize("pattern", NO_PATTERNS.values(), ids=NO_PATTERNS.keys())
def test_what_can_allow_no_host_is_none(pattern):
    assert not is_pattern(pattern)


@pytest.mark.parametrize("url", [url for url, _ in ALLOWED.values()], ids=ALLOWED.keys())
def test_who_sends_it_reads_the_same_place_in_a_url(url):
    target, other = target_of(url), httpx.URL(url)
    implied = {"http": 80, "https": 443}[other.scheme]
    assert target is not None
    same_host = target_of(f"http://[{other.host}]" if ":" in other.host else f"http://{other.host}")
    assert same_host is not None
    assert (target.scheme, target.host, target.port) == (other.scheme, same_host.host, other.port or implied)


def test_a_place_is_shown_without_what_may_be_secret():
    assert str(target_of("https://Hooks.example.com/services/T0/secret?key=1")) == "https://hooks.example.com:443"
    assert str(target_of("http://[::1]:9/x")) == "http://[::1]:9"
    assert target_of("http://[::1]:9/x") == Target("http", "::1", 9)


def test_the_signature_is_the_hmac_of_timestamp_dot_body():
    expected = hmac.new(b"key", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert signature("key", "1700000000", b'{"a":1}') == f"sha256={expected}"
    assert signature("key", "1700000001", b'{"a":1}') != f"sha256={expected}"
    assert signature("kez", "1700000000", b'{"a":1}') != f"sha256={expected}"


def test_a_delivery_is_named_by_epoch_revision_and_purpose():
    assert delivery_of("ab12-cd34", 17, "restart") == "ab12-cd34-17-restart"
