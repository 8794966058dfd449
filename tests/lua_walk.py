"""A walk over one Lua file: its free names, its calls and what they are given, its functions and its answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from luaparser import astnodes as lua

__all__ = ["Call", "Walk", "dotted", "text_of"]


@dataclass
class Call:
    """One call as the walk met it. `kinds` says of each argument whether it is a key: `key`, `param` or `other`."""

    name: str
    node: lua.Call
    line: int
    kinds: list[str]
    alone: bool
    function: str
    local: bool


@dataclass
class Walk:
    """One file, walked with Lua's scopes: its free names, its calls, its functions and its returned tables."""

    free: list[tuple[str, int, bool]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    functions: dict[str, list[str]] = field(default_factory=dict)
    returned: list[tuple[lua.Node, int]] = field(default_factory=list)
    loops: list[int] = field(default_factory=list)
    numbers: dict[str, tuple[float, int]] = field(default_factory=dict)
    unpacked: dict[str, tuple[list[str], lua.Call, int]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    _scopes: list[dict[str, str]] = field(default_factory=lambda: [{}])
    _function: str = ""
    _line: int = 1

    def chunk(self, tree: lua.Chunk) -> "Walk":
        self._block(tree.body)
        return self

    # -- names -----------------------------------------------------------------------------------------------------

    def _kind(self, node: lua.Node | None) -> str:
        """Whether an expression is certainly a key that was passed in: `key`, `param` (in a function) or `other`."""
        if isinstance(node, lua.Name):
            return next((scope[node.id] for scope in reversed(self._scopes) if node.id in scope), "other")
        if isinstance(node, lua.Index):
            if isinstance(node.value, lua.Name) and node.value.id == "KEYS":
                return "key"
            return "param" if self._kind(node.value) == "param" else "other"
        if isinstance(node, lua.Call) and isinstance(node.func, lua.Name) and node.func.id == "unpack":
            return self._kind_of_list(node.args[0])
        if isinstance(node, (lua.OrLoOp, lua.AndLoOp)):
            kinds = {self._kind(node.left), self._kind(node.right)}
            return "other" if "other" in kinds else kinds.pop()
        return "other"

    def _kind_of_list(self, node: lua.Node) -> str:
        return "key" if isinstance(node, lua.Name) and node.id == "KEYS" else self._kind(node)

    def _bind(self, name: lua.Node, kind: str) -> None:
        if isinstance(name, lua.Name):
            self._scopes[-1][name.id] = kind

    def _is_local(self, name: str) -> bool:
        return any(name in scope for scope in self._scopes)

    def _use(self, name: str, *, assigned: bool) -> None:
        if assigned or not self._is_local(name):
            if not self._is_local(name):
                self.free.append((name, self._line, assigned))
        else:
            self.read.add(name)

    # -- statements ------------------------------------------------------------------------------------------------

    def _block(self, block: lua.Block, bindings: Sequence[tuple[lua.Node, str]] = ()) -> None:
        self._scopes.append({})
        for name, kind in bindings:
            self._bind(name, kind)
        for statement in block.body:
            self._statement(statement)
        self._scopes.pop()

    def _statement(self, node: lua.Node) -> None:
        self._line = node.line or self._line
        match node:
            case lua.LocalAssign():
                self._expressions(node.values)
                self._note_unpack(node)
                kinds = [self._kind(value) for value in node.values]
                single = len(node.values) == 1
                for i, target in enumerate(node.targets):
                    self._bind(target, kinds[0] if single else kinds[i] if i < len(kinds) else "other")
            case lua.Assign():
                self._expressions(node.values)
                for target in node.targets:
                    if isinstance(target, lua.Name):
                        self._use(target.id, assigned=True)
                    else:
                        self._expression(target)
            case lua.LocalFunction():
                self._bind(node.name, "other")
                self._body(node, node.name.id)
            case lua.Function():
                if isinstance(node.name, lua.Name):
                    self._use(node.name.id, assigned=True)
                else:
                    self._expression(node.name)
                self._body(node, "")
            case lua.If() | lua.ElseIf():
                self._expression(node.test)
                self._block(node.body)
                if isinstance(node.orelse, lua.Block):
                    self._block(node.orelse)
                elif node.orelse is not None:
                    self._statement(node.orelse)
            case lua.While():
                self.loops.append(self._line)
                self._expression(node.test)
                self._block(node.body)
            case lua.Repeat():
                self.loops.append(self._line)
                self._block(node.body)
            case lua.Do():
                self._block(node.body)
            case lua.Fornum():
                self._expressions([node.start, node.stop, node.step])
                self._block(node.body, [(node.target, "other")])
            case lua.Forin():
                self._expressions(node.iter)
                self._block(node.body, [(target, self._kind_of_loop(node, i)) for i, target in enumerate(node.targets)])
            case lua.Return():
                values = node.values if isinstance(node.values, list) else [node.values]
                if not self._function:
                    self.returned.extend((value, self._line) for value in values)
                self._expressions(values)
            case lua.Call():
                self._call(node, alone=True)
            case _:
                self._expression(node)

    def _kind_of_loop(self, node: lua.Forin, position: int) -> str:
        source = node.iter[0]
        if position == 1 and isinstance(source, lua.Call) and source.args:
            return self._kind_of_list(source.args[0])
        return "other"

    def _note_unpack(self, node: lua.LocalAssign) -> None:
        value = node.values[0] if node.values else None
        if isinstance(value, lua.Number) and isinstance(node.targets[0], lua.Name):
            self.numbers[node.targets[0].id] = value.n, self._line
        if isinstance(value, lua.Call) and isinstance(value.func, lua.Name) and value.func.id == "unpack":
            source = value.args[0]
            if isinstance(source, lua.Name) and source.id in ("KEYS", "ARGV"):
                self.unpacked[source.id] = [target.id for target in node.targets], value, self._line

    def _body(self, node: lua.Function | lua.LocalFunction | lua.AnonymousFunction, name: str) -> None:
        names = [argument.id for argument in node.args if isinstance(argument, lua.Name)]
        outer, self._function = self._function, name or self._function or "(anonymous)"
        if name:
            self.functions[name] = names
        self._block(node.body, [(lua.Name(argument), "param") for argument in names])
        self._function = outer

    # -- expressions -----------------------------------------------------------------------------------------------

    def _expressions(self, nodes: Sequence[lua.Node]) -> None:
        for node in nodes:
            self._expression(node)

    def _expression(self, node: lua.Node | int | None) -> None:
        match node:
            case lua.Name():
                self._use(node.id, assigned=False)
            case lua.Index():
                self._expression(node.value)
                if node.notation is lua.IndexNotation.SQUARE:
                    self._expression(node.idx)
            case lua.Call():
                self._call(node, alone=False)
            case lua.Invoke():
                self._expression(node.source)
                self._expressions(node.args)
            case lua.AnonymousFunction():
                self._body(node, "")
            case lua.Table():
                for item in node.fields:
                    if item.between_brackets:
                        self._expression(item.key)
                    self._expression(item.value)
            case lua.Node():
                for child in vars(node).values():
                    if isinstance(child, lua.Expression):
                        self._expression(child)

    def _call(self, node: lua.Call, *, alone: bool) -> None:
        name = dotted(node.func)
        kinds = [self._kind(argument) for argument in node.args]
        local = self._is_local(name.partition(".")[0])
        self.calls.append(Call(name, node, node.line or self._line, kinds, alone, self._function, local))
        self._expression(node.func)
        self._expressions(node.args)


def dotted(node: lua.Node) -> str:
    """The name of what is called, `redis.call`; `?` where it has none."""
    if isinstance(node, lua.Name):
        return str(node.id)
    if isinstance(node, lua.Index) and isinstance(node.idx, lua.Name):
        return f"{dotted(node.value)}.{node.idx.id}"
    return "?"


def text_of(node: lua.Node | None) -> str | None:
    """The text of a string literal, None for anything else."""
    if not isinstance(node, lua.String):
        return None
    return node.s.decode() if isinstance(node.s, bytes) else str(node.s)
