"""How much effort a run of the tests takes: `HOPPER_TEST_LONG=1` asks for the long one."""

import os

__all__ = ["LONG"]

LONG = os.environ.get("HOPPER_TEST_LONG") == "1"
