"""What `import hopper` offers, and what it costs."""

import subprocess
import sys

import pytest

import hopper


def test_the_public_names_are_sorted_and_each_can_be_imported():
    assert list(hopper.__all__) == sorted(hopper.__all__)
    assert len(set(hopper.__all__)) == len(hopper.__all__)
    for name in hopper.__all__:
        assert getattr(hopper, name).__name__ == name
    assert set(hopper.__all__) == set(hopper._HOMES)


def test_a_star_import_brings_exactly_the_public_names():
    namespace: dict[str, object] = {}
    exec("from hopper import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(hopper.__all__)


def test_what_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hopper.nothing


def test_dir_shows_the_public_names():
    assert dir(hopper) == sorted(hopper.__all__)


def test_every_public_name_has_a_docstring():
    assert [name for name in hopper.__all__ if not getattr(hopper, name).__doc__] == []


@pytest.mark.parametrize("module", ["redis", "starlette", "pydantic", "uvicorn", "typer", "asyncio"])
def test_importing_hopper_imports_nothing_of_weight(module):
    program = f"import sys; before = set(sys.modules); import hopper; print({module!r} in set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_model_needs_neither_redis_nor_the_web():
    program = "import sys, hopper; hopper.Selector, hopper.Record, hopper.InstanceSpec; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"redis", "starlette", "asyncio"} & set(done.stdout.split())
