"""What is installed from a wheel works: the scripts ship inside the package and run."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from hopper.store.scripts import lua_directory, script_names

ROOT = Path(__file__).parents[1]

PROBE = """
import asyncio, json, sys
import hopper
from hopper.config import Settings
from hopper.model.spec import parse_spec
from hopper.store.instances import InstanceStore
from hopper.store.scripts import lua_directory, script_names

async def register():
    store = InstanceStore(Settings(redis_url=sys.argv[1], namespace=sys.argv[2]))
    await store.open()
    registration = await store.register(parse_spec({"scope": "global", "id": "g"}))
    await store.aclose()
    return registration.revision

print(json.dumps({
    "package": hopper.__file__, "scripts": script_names(), "lua": str(lua_directory()),
    "revision": asyncio.run(register()),
}))
"""


def run(*words: str, **options) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, and the wheel that was built from it and not from the checkout."""
    target = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT))
    return target


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_source_distribution_has_sources_scripts_and_tests(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"lua/{name}.lua" for name in script_names()} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "src/hopper/errors.py", "tests/conftest.py", "Makefile"} <= names
    assert not [name for name in names if ".venv" in name or "__pycache__" in name]


def test_the_wheel_has_every_lua_file_and_the_typing_mark(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"hopper/lua/{path.relative_to(lua_directory())}" for path in lua_directory().rglob("*.lua")}
    assert {name for name in names if name.endswith(".lua")} == expected
    assert "hopper/py.typed" in names
    assert not [name for name in names if not name.startswith(("hopper/", "hopper_registry-"))]


def test_an_installed_wheel_registers_an_instance(wheel, settings, tmp_path):
    site = tmp_path / "site"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    said = json.loads(
        run(
            *("-c", PROBE, settings.redis_url, settings.namespace),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
        )
    )
    assert said["package"] == str(site / "hopper" / "__init__.py")
    assert said["lua"] == str(site / "hopper" / "lua")
    assert tuple(said["scripts"]) == script_names()
    assert said["revision"] == 1
