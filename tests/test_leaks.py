"""The watch over the keys that a test leaves behind notices what the design does not name."""

import pytest

from servers import leaks

P = "hopper:{t1}:"

LEFT = {
    "a record": ({P + "instance:a": ("hash", False)}, None),
    "a heartbeat": ({P + "heartbeat:a": ("string", True)}, None),
    "the log": ({P + "events": ("stream", False)}, None),
    "a kept answer": ({P + "request:x": ("string", True)}, None),
    "a key of another namespace": ({"hopper:{t2}:nonsense": ("string", False)}, None),
    "a kind that is not named": ({P + "nonsense": ("string", False)}, "a key that the design does not name"),
    "a family that is not named": ({P + "nonsense:a": ("set", False)}, "a key that the design does not name"),
    "a record without an id": ({P + "instance:": ("hash", False)}, "a key that the design does not name"),
    "children of nobody": ({P + "children:": ("set", False)}, "a key that the design does not name"),
    "another type": ({P + "names": ("string", False)}, "a string, not a hash"),
    "a heartbeat for ever": ({P + "heartbeat:a": ("string", False)}, "would stay for ever"),
    "a record that expires": ({P + "instance:a": ("hash", True)}, "expires"),
    "no namespace": ({"hopper:default:names": ("hash", False)}, "not of the form"),
    "no prefix": ({"names": ("hash", False)}, "not of the form"),
}


@pytest.mark.parametrize(("keys", "says"), LEFT.values(), ids=LEFT.keys())
def test_keys_are_as_the_design_says_or_named_with_what_is_wrong(keys, says):
    problems = leaks(keys, ["t1"])
    if says is None:
        assert problems == []
    else:
        assert [says in problem for problem in problems] == [True]
