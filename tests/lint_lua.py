"""Lint of `lua/`: what a script's header block promises, what the code does, and what no script may do.

Run as a script it writes one line per finding and exits with 1 where there is any. A file is checked on its own lines;
the functions of the pieces it uses and the constants that the loader injects are known names.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lupa.lua51
from luaparser import ast
from luaparser import astnodes as lua

from hopper.errors import BY_LUA_CODE
from hopper.store.scripts import CONSTANTS, Header, Script, lua_directory, parse_header
from lua_walk import Call, Walk, dotted, text_of

__all__ = ["Finding", "lint"]

STANDARD = frozenset(
    {"KEYS", "ARGV", "redis", "cjson", "ipairs", "math", "next", "pairs", "pcall", "select", "string", "table"}
    | {"tonumber", "tostring", "type", "unpack"}
)
FORBIDDEN = {
    "error": "error(): answer with refuse()",
    "cmsgpack": "cmsgpack, which fakeredis has not",
    "bit": "bit, which fakeredis has not",
    "struct": "struct, which fakeredis has not",
}
NO_KEY = frozenset({"TIME", "PUBLISH", "ECHO", "PING"})
ALL_KEYS = frozenset({"DEL", "UNLINK", "EXISTS", "MGET", "TOUCH"})
WRITES = frozenset(
    {"APPEND", "DECR", "DECRBY", "DEL", "EXPIRE", "EXPIREAT", "GETDEL", "GETEX", "INCR", "INCRBY", "MSET", "PERSIST"}
    | {"PEXPIRE", "PEXPIREAT", "PSETEX", "RENAME", "SET", "SETEX", "SETNX", "UNLINK"}
    | {"HDEL", "HINCRBY", "HINCRBYFLOAT", "HMSET", "HSET", "HSETNX", "LPUSH", "LREM", "RPUSH"}
    | {"SADD", "SMOVE", "SPOP", "SREM", "XADD", "XDEL", "XTRIM"}
    | {"ZADD", "ZINCRBY", "ZREM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE"}
)
LINE_LENGTH = 120
"""As in the Python code."""
JOURNAL = frozenset({"commit", "append_event", "remove_record"})
"""The functions that append the event of a change: the first write of every script that has a log."""


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong at one line."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass
class Source:
    """One file of `lua/` or `lua/lib/`."""

    path: Path
    text: str
    walk: Walk

    @property
    def name(self) -> str:
        return self.path.stem

    def called_by(self, function: str) -> list[Call]:
        return [call for call in self.walk.calls if call.function == function]


class Linter:
    """The check of one directory of scripts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.findings: list[Finding] = []
        self.pieces = self._read((directory / "lib").glob("*.lua"))
        self.scripts = self._read(directory.glob("*.lua"))
        self.owner = {name: piece for piece in self.pieces.values() for name in piece.walk.functions}
        """Each function of `lib` and the piece that defines it."""
        self.used: set[str] = set()

    def run(self) -> list[Finding]:
        for piece in self.pieces.values():
            self._check_code(piece, self.owner.keys() | piece.walk.functions.keys())
        for source in self.scripts.values():
            self._check_script(source)
        for name, piece in self.owner.items():
            if name not in self.used:
                self._find(piece, 1, f"no script uses {name}()")
        return sorted(set(self.findings))

    def _find(self, source: Source | Path, line: int, text: str) -> None:
        path = source.path if isinstance(source, Source) else source
        self.findings.append(Finding(str(path.relative_to(self.directory.parent)), line, text))

    def _read(self, paths: Iterator[Path]) -> dict[str, Source]:
        sources = {}
        for path in sorted(paths):
            text = path.read_text()
            try:
                tree = ast.parse(text)
            except ast.SyntaxException as error:
                self._find(path, 1, f"does not parse: {error}")
            else:
                sources[path.stem] = Source(path, text, Walk().chunk(tree))
        return sources

    # -- what neither a script nor a piece may do ------------------------------------------------------------------

    def _check_code(self, source: Source, known: set[str]) -> None:
        if source.text.startswith("#!"):
            self._find(source, 1, "has a shebang")
        for line, text in enumerate(source.text.splitlines(), start=1):
            if len(text) > LINE_LENGTH:
                self._find(source, line, f"has {len(text)} characters, over {LINE_LENGTH}")
        for name, line, assigned in source.walk.free:
            if assigned:
                self._find(source, line, f"assigns the global {name}")
            elif name in FORBIDDEN:
                self._find(source, line, f"uses {FORBIDDEN[name]}")
            elif name not in STANDARD and name not in CONSTANTS and name not in known:
                owner = self.owner.get(name)
                where = f": it is in lib/{owner.name}.lua, which USES does not name" if owner else ""
                self._find(source, line, f"reads the unknown global {name}{where}")
        for line in source.walk.loops:
            self._find(source, line, "has a loop without a bound of its own: use for")
        for call in source.walk.calls:
            self._check_call(source, call)

    def _check_call(self, source: Source, call: Call) -> None:
        arguments = call.node.args
        if call.name in ("redis.call", "redis.pcall"):
            self._check_command(source, call)
        elif call.name == "redis.error_reply" and source.name != "refuse":
            self._find(source, call.line, "answers an error without refuse()")
        elif call.name == "cjson.encode" and arguments and isinstance(arguments[0], lua.Table):
            self._find(source, call.line, "encodes a table, which can be empty, with cjson")
        elif call.name == "refuse":
            code = text_of(arguments[0]) if arguments else None
            if code is None:
                self._find(source, call.line, "refuses with a code that is not a plain word")
            elif code not in BY_LUA_CODE:
                self._find(source, call.line, f"refuses with {code}, which hopper.errors does not know")
        elif call.name in self.owner:
            for position in self._key_positions(call.name):
                if position < len(arguments) and call.kinds[position] == "other":
                    self._find(source, call.line, f"gives {call.name}() a key that is not from KEYS")
        if call.alone and (call.name == "refuse" or (call.name in self.owner and self._codes(call.name))):
            self._find(source, call.line, f"ignores the refusal of {call.name}()")

    def _check_command(self, source: Source, call: Call) -> None:
        command = text_of(call.node.args[0])
        if command is None:
            self._find(source, call.line, f"{call.name} with a command that is not a plain word")
            return
        if command.upper() != command:
            self._find(source, call.line, f"the command {command} is not in capitals")
        for position in _key_arguments(command, len(call.node.args)):
            if position >= len(call.kinds) or call.kinds[position] == "other":
                self._find(source, call.line, f"{command} with a key that is not from KEYS")

    def _key_positions(self, function: str, seen: frozenset[str] = frozenset()) -> set[int]:
        """Which arguments of a function of `lib` end up as keys of a command."""
        piece = self.owner[function]
        names = piece.walk.functions[function]
        found = {i for i, name in enumerate(names) if name == "key" or name.endswith("_key")}
        for call in piece.called_by(function):
            positions: set[int] = set()
            if call.name in ("redis.call", "redis.pcall"):
                positions = set(_key_arguments(text_of(call.node.args[0]) or "", len(call.node.args)))
            elif call.name in self.owner and call.name not in seen | {function}:
                positions = self._key_positions(call.name, seen | {function})
            for position in positions:
                argument = call.node.args[position] if position < len(call.node.args) else None
                if isinstance(argument, lua.Name) and argument.id in names:
                    found.add(names.index(argument.id))
        return found

    # -- functions of lib ------------------------------------------------------------------------------------------

    def _reached(self, calls: Sequence[Call], walk: Walk) -> set[str]:
        """The functions of `lib` that run, directly or not, where these calls are made."""
        reached: set[str] = set()
        waiting = [call.name for call in calls if call.name in self.owner and call.name not in walk.functions]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting.extend(call.name for call in self.owner[name].called_by(name) if call.name in self.owner)
        return reached

    def _codes(self, function: str) -> set[str]:
        """The codes with which a function of `lib` refuses, itself or through another."""
        codes: set[str] = set()
        for name in {function} | self._reached(self.owner[function].called_by(function), Walk()):
            codes |= _refusals(self.owner[name].called_by(name))
        return codes

    # -- a script against its header -------------------------------------------------------------------------------

    def _check_script(self, source: Source) -> None:
        try:
            header = parse_header(source.text)
        except ValueError as error:
            self._find(source, 1, str(error))
            return
        known = {name for name, piece in self.owner.items() if piece.name in header.uses}
        self._check_code(source, known | source.walk.functions.keys())
        if not header.summary:
            self._find(source, 1, "the header does not say what the script does")
        reached = self._reached(source.walk.calls, source.walk)
        self.used |= reached
        self._check_uses(source, header, reached)
        self._check_errors(source, header, reached)
        self._check_unpack(source, header)
        self._check_returns(source, header)
        self._check_order(source, reached)
        self._check_rendered(source)

    def _check_uses(self, source: Source, header: Header, reached: set[str]) -> None:
        needed = {self.owner[name].name for name in reached}
        for piece in header.uses:
            if piece not in self.pieces:
                self._find(source, 1, f"USES {piece}, which lib has not")
            elif piece not in needed:
                self._find(source, 1, f"USES {piece} and needs nothing of it")
        for piece in sorted(needed - set(header.uses)):
            self._find(source, 1, f"USES does not name {piece}, which it needs")
        if len(set(header.uses)) != len(header.uses):
            self._find(source, 1, "USES names a piece twice")
        for position, piece in enumerate(header.uses):
            if piece in self.pieces:
                own = self.pieces[piece]
                for name in {self.owner[call.name].name for call in own.walk.calls if call.name in self.owner}:
                    if name != piece and name in header.uses[position + 1 :]:
                        self._find(source, 1, f"USES names {piece} before {name}, which {piece} needs")

    def _check_errors(self, source: Source, header: Header, reached: set[str]) -> None:
        raised = _refusals(source.walk.calls)
        for name in reached:
            raised |= _refusals(self.owner[name].called_by(name))
        declared = {entry.name for entry in header.errors}
        for code in sorted(raised - declared):
            self._find(source, 1, f"may refuse with {code}, which ERRORS does not name")
        for code in sorted(declared - raised):
            self._find(source, 1, f"ERRORS names {code}, with which nothing refuses")
        for code in sorted(declared - BY_LUA_CODE.keys()):
            self._find(source, 1, f"ERRORS names {code}, which hopper.errors does not know")

    def _check_unpack(self, source: Source, header: Header) -> None:
        for table, entries in (("KEYS", header.keys), ("ARGV", header.arguments)):
            declared = [entry.name for entry in entries if not entry.is_group]
            if any(entry.is_group for entry in entries[:-1]):
                self._find(source, 1, f"{table} has a group that is not the last")
            names, call, line = source.walk.unpacked.get(table, ([], None, 1))
            same = len(names) == len(declared) and all(
                name in (wanted, f"{wanted}_key") for name, wanted in zip(names, declared, strict=True)
            )
            if not same:
                self._find(
                    source, line, f"unpacks {table} as ({' '.join(names)}), the header says ({' '.join(declared)})"
                )
            for name in names:
                if name not in source.walk.read:
                    self._find(source, line, f"{table} has {name}, which nothing reads")
            grouped = bool(entries) and entries[-1].is_group
            bounds = [node.n for node in call.args[1:] if isinstance(node, lua.Number)] if call else []
            if grouped and call and bounds != [1, len(declared)]:
                self._find(source, line, f"unpack({table}) before a group must be unpack({table}, 1, {len(declared)})")
            if table == "ARGV" and grouped:
                for name, (number, where) in source.walk.numbers.items():
                    if name.startswith("FIRST_") and number != len(declared) + 1:
                        self._find(source, where, f"{name} is {number:g}, the group starts at {len(declared) + 1}")

    def _check_returns(self, source: Source, header: Header) -> None:
        if any(entry.is_group for entry in header.returns):
            return
        for value, line in source.walk.returned:
            table = value
            if isinstance(value, lua.Call) and dotted(value.func) == "keep_answer":
                table = value.args[-1]
            if isinstance(table, lua.Table) and len(table.fields) != len(header.returns):
                self._find(source, line, f"answers {len(table.fields)} values, RETURNS names {len(header.returns)}")

    def _check_order(self, source: Source, reached: set[str]) -> None:
        """All checks come first, then the event, then the other writes: Redis undoes nothing."""
        written = journaled = False
        for call in source.walk.calls:
            command = text_of(call.node.args[0]) if call.name.startswith("redis.") and call.node.args else None
            if call.name == "refuse" and (written or journaled):
                self._find(source, call.line, "refuses after it has written")
            elif call.name in JOURNAL:
                journaled = True
            elif command in WRITES:
                written = True
                if not journaled and reached & JOURNAL:
                    self._find(source, call.line, f"writes ({command}) before it appends its event")

    def _check_rendered(self, source: Source) -> None:
        header = parse_header(source.text)
        if not set(header.uses) <= self.pieces.keys():
            return
        rendered = Script(source.name, source.text, {name: piece.text for name, piece in self.pieces.items()}).text
        compiled = lupa.lua51.LuaRuntime().globals().loadstring(rendered)
        if isinstance(compiled, tuple):
            self._find(source, 1, f"Lua 5.1 does not compile it: {compiled[1]}")


def _key_arguments(command: str, count: int) -> list[int]:
    """Which arguments of redis.call, the command being the first, are keys."""
    if command.upper() in NO_KEY:
        return []
    return list(range(1, count)) if command.upper() in ALL_KEYS else [1]


def _refusals(calls: Sequence[Call]) -> set[str]:
    found = (text_of(call.node.args[0]) for call in calls if call.name == "refuse" and call.node.args)
    return {code for code in found if code is not None}


def lint(directory: Path) -> list[Finding]:
    """What is wrong in a directory of scripts and its `lib`, in the order of files and lines."""
    return Linter(directory).run()


if __name__ == "__main__":
    findings = lint(lua_directory())
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    sys.exit(1 if findings else 0)
