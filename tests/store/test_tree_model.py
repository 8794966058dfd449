"""The tree and the log against a model, asked by several clients."""

from effort import LONG
from tree_model import run

EXAMPLES, WANTED = (400, 40_000) if LONG else (50, 5_000)
"""Examples, and the steps that they must come to on each of two servers."""


def test_redis_and_the_model_agree_after_every_step(new_settings):
    assert run(new_settings, examples=EXAMPLES) >= WANTED
