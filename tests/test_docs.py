"""The documentation says what the code does: its examples run, and everything public is on its page."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hopper.cli.exits import MEANINGS
from hopper.config import Settings
from hopper.model.health import Health
from hopper.model.record import FIELDS
from hopper.model.state import TRANSITIONS
from hopper.store.keys import Keys
from hopper.store.scripts import lua_directory, script

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "instance-registry.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "lua" / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_makes_it(generator: ModuleType) -> None:
    assert generator.PAGE.read_text() == generator.reference(), "run `make docs`"


def test_every_key_of_the_store_is_in_the_reference(generator: ModuleType) -> None:
    keys = Keys("n")
    spelled = {value for name, value in vars(keys).items() if not name.startswith("_") and name != "prefix"}
    spelled |= {
        keys.record("ID"),
        keys.heartbeat("ID"),
        keys.children("ID"),
        keys.restarts("ID"),
        keys.request("TOKEN"),
    }
    assert {key.replace(keys.prefix, "P", 1) for key in spelled} == set(generator.KEYS)


@pytest.mark.parametrize("field", FIELDS)
def test_the_reference_says_of_each_field_who_writes_it(field: str, generator: ModuleType) -> None:
    section = generator.reference().partition("## Record\n")[2].partition("\n## ")[0]
    row = re.search(rf"^\| `{field}` \| (.+) \|$", section, re.MULTILINE)
    assert row is not None
    kind, _, _, writer, means = row[1].split(" | ")
    assert kind
    assert (writer, means) == generator.RECORD[field]


@pytest.mark.parametrize(
    "row",
    [
        "| `restart.max_restarts` | integer | `5` | at least 0 |",
        "| `internal` | 500 |",
        "| `method-not-allowed` | 405 |",
    ]
    + [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()],
)
def test_the_reference_has_the_row(row: str, generator: ModuleType) -> None:
    assert row in generator.reference()


@pytest.mark.parametrize("verb", TRANSITIONS, ids=str)
def test_the_guide_shows_each_transition_as_the_table_has_it(verb: str) -> None:
    row = re.search(rf"^\| `{verb}` \| (.+) \| (\w+) \|$", GUIDE, re.MULTILINE)
    assert row is not None
    assert {name.strip() for name in row[1].split(",")} == {state.value for state in TRANSITIONS[verb].origins}
    assert row[2] == TRANSITIONS[verb].target.value


def test_the_guide_names_every_health() -> None:
    assert [health for health in Health if f"`{health}`" not in GUIDE] == []


def test_every_field_of_the_record_is_somewhere_in_the_docs() -> None:
    text = "".join(page.read_text() for page in PAGES)
    exempt = {"created_revision", "created_at_ms"}  # told as `created_*`
    missing = [name for name in FIELDS if name not in exempt and name not in text]
    assert missing == []


async def test_the_example_of_the_guide_runs(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert code is not None
    namespace: dict[str, object] = {}
    exec(compile(code[1].replace('namespace="docs"', f'namespace="{settings.namespace}"'), "guide", "exec"), namespace)
    await namespace["main"](settings.redis_url)  # type: ignore[operator]
    printed = capsys.readouterr().out
    assert "web running healthy" in printed
    assert "hq has a new child: web" in printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_documentation_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"`[^`]*`", "", page.read_text())
    targets = re.findall(r"\]\(([^)#]+)?(?:#[^)]*)?\)", prose)
    broken = [target for target in targets if target and "://" not in target and not (page.parent / target).exists()]
    assert broken == []


def test_anchors_of_the_guide_exist() -> None:
    headings = {re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in GUIDE.splitlines()
                if line.startswith("#")}  # fmt: skip
    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE)) <= headings


def test_the_scripts_page_shows_keys_and_arguments_in_the_order_of_the_header() -> None:
    shown = (lua_directory() / "README.md").read_text()
    call = re.search(r"--eval \S+ \\\n(.*?)\n```", shown, re.DOTALL)
    assert call is not None
    keys, arguments = call[1].replace("\\\n", " ").split(",", 1)
    assert len(keys.split()) == len(script("link").header.keys)
    assert len(arguments.split()) == len(script("link").header.arguments)
