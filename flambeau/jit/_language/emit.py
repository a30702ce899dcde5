"""From syntax to graph: statements. One pass over Python's own syntax tree emits nodes with types; expressions are in `express.py`, places in `assign.py`.

What leaves a block early (`return`, `break`, `continue`) becomes values: a flag that says so, what is returned, whether the loop goes
on. Where the flag is known while compiling, the rest of the block moves into the branch that goes on.
"""

from __future__ import annotations

import ast
from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.assign import Assignments
from flambeau.jit._language.failures import NotScript
from flambeau.jit._language.graph import Block, Graph, Node, Value
from flambeau.jit._language.match import convert
from flambeau.jit._language.places import Place, callee
from flambeau.jit._language.values import Items, Sugared, as_value

FOREVER = 2**63 - 1
LEFT, GO, RETURNED, RESULT = "$left", "$go", "$returned", "$result"


def leaves(stmts: Any, inner: bool = False) -> bool:
    """Whether statements may leave the block that holds them."""
    for s in stmts:
        if isinstance(s, ast.Return) or (not inner and isinstance(s, (ast.Break, ast.Continue))):
            return True
        if isinstance(s, (ast.For, ast.While)):
            if leaves(s.body, True) or leaves(s.orelse, inner):
                return True
        elif isinstance(s, ast.If):
            if leaves(s.body, inner) or leaves(s.orelse, inner):
                return True
        elif isinstance(s, ast.With) and leaves(s.body, inner):
            return True
    return False


def ends(stmts: Any) -> bool:
    """Whether statements always leave (return, break, continue, raise)."""
    for s in stmts:
        if isinstance(s, (ast.Return, ast.Break, ast.Continue, ast.Raise)):
            return True
        if isinstance(s, ast.If) and s.orelse and ends(s.body) and ends(s.orelse):
            return True
        if isinstance(s, ast.With) and ends(s.body):
            return True
    return False


def assigned(stmts: Any) -> list[str]:
    """Names that statements assign, in order."""
    out: dict[str, None] = {}
    for s in stmts:
        for n in ast.walk(s):
            if isinstance(n, ast.Name) and isinstance(n.ctx, (ast.Store, ast.Del)):
                out[n.id] = None
            elif isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name):
                out[n.target.id] = None
    return list(out)


class Emitter(Assignments):
    """Compiles one function."""

    def __init__(self, resolver: Any, file: str = "", first: int = 0, text: list[str] | None = None) -> None:
        self.resolver, self.file, self.first = resolver, file, first
        self.text = text or []
        self.margin = len(self.text[0]) - len(self.text[0].lstrip()) if self.text else 0  # the tree has lost it
        self.graph = Graph()
        self.block: Block = self.graph.block
        self.env: dict[str, Any] = {}
        self.declared: dict[str, ty.Type] = {}
        # What was known where the innermost branch or loop began: those variables keep their types.
        self.enclosing: dict[str, Any] = {}
        self.result: ty.Type | None = None
        self.result_seen: ty.Type | None = None
        self.expected: ty.Type | None = None
        self.depth = 0
        self.statement: Any = None  # the assignment under way: errors of writes mark all of it
        self.again: Any = None  # emits whether the innermost loop goes on

    # ---- places and errors ----

    def at(self, node: Any) -> Place | None:
        if not hasattr(node, "lineno"):
            return None
        (line, column), (last, end) = callee(node)
        return Place(
            self.file,
            line + self.first,
            column + self.margin,
            last + self.first,
            end + self.margin,
            (1 + self.first, self.text),
        )

    Error = NotScript

    def fail(self, message: str, place: Any) -> Any:
        if place is not None and not isinstance(place, Place):
            place = self.at(place)
        raise NotScript(f"\n{message}:\n{place.highlight() if place is not None else ''}")

    # ---- the function ----

    def function(self, tree: ast.FunctionDef, params: list[tuple[str, ty.Type]], result: ty.Type | None, self_value: Any = None) -> Graph:  # fmt: skip
        self.result = result
        for name, t in params:
            v = self.block.param(t, name)
            self.env[name] = v
            self.declared[name] = t
        if self_value is not None:
            self.env[params[0][0]] = self_value(self.env[params[0][0]])
        body = tree.body
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):  # fmt: skip
            body = body[1:]
        status = self.statements(body)
        out = self.env.get(RESULT)
        if out is None:
            if (
                status != "raise"
                and self.result is not None
                and self.result is not ty.NONE
                and not ty.subtype(ty.NONE, self.result)
            ):
                self.fail("Function was not annotated as having type None, but does not return along all paths", tree)
            out = self.constant(None) if status != "raise" or self.result in (None, ty.NONE) else self.node("prim::Uninitialized", [], self.result)  # fmt: skip
        elif status == "fall":
            left = self.env.get(LEFT)
            if (left is None or not self.is_true(left)) and self.result not in (None, ty.NONE) and not ty.subtype(ty.NONE, self.result) and not self.covered(left):  # fmt: skip
                self.fail("Function was not annotated as having type None, but does not return along all paths", tree)
        self.block.returns = [out]
        self.result = self.result or out.type
        return self.graph

    def covered(self, left: Any) -> bool:
        return isinstance(left, Value)

    def is_true(self, v: Any) -> bool:
        return (
            isinstance(v, Value)
            and v.node is not None
            and v.node.kind == "prim::Constant"
            and v.node.attrs["value"] is True
        )

    # ---- statements ----

    def statements(self, stmts: list[Any]) -> str:
        """Emit statements; says how they end: "fall", "exit" (the flags hold how), "raise"."""
        for i, s in enumerate(stmts):
            rest = stmts[i + 1 :]
            if isinstance(s, ast.If):
                status = self.if_statement(s, rest)
                if status is not None:
                    return status
            elif isinstance(s, (ast.For, ast.While)):
                flagged = leaves(s.body, True)
                done = self.loop(s)
                if done == "exit":
                    return "exit"
                if flagged:
                    return self.unless_left(rest)
            elif isinstance(s, ast.Return):
                self.give(s)
                return "exit"
            elif isinstance(s, (ast.Break, ast.Continue)):
                self.env[GO] = self.again() if isinstance(s, ast.Continue) else self.constant(False)
                self.env[LEFT] = self.constant(True)
                self.env["$kind"] = "break" if isinstance(s, ast.Break) else "continue"
                return "exit"
            elif isinstance(s, ast.Raise):
                self.raise_(s)
                return "raise"
            elif isinstance(s, ast.With):
                status = self.with_(s)
                if status != "fall":
                    return status
                if leaves(s.body):
                    return self.unless_left(rest)
            else:
                self.simple(s)
        return "fall"

    def unless_left(self, rest: list[Any]) -> str:
        """Emit the rest of a block, to run only if it was not left."""
        left = self.env.get(LEFT)
        if left is None or self.is_false(left):
            return self.statements(rest)
        if self.is_true(left):
            return "exit"
        if not rest:
            return "fall"
        return self.branch(left, lambda: "exit", lambda: self.statements(rest), None)

    def is_false(self, v: Any) -> bool:
        return v.node is not None and v.node.kind == "prim::Constant" and v.node.attrs["value"] is False

    def if_statement(self, s: ast.If, rest: list[Any]) -> str | None:
        """Emit an if; None where the statements after it still have to be emitted."""
        cond = self.condition(s.test)
        if cond.static is not None:
            self.refine(cond.when_true if cond.static else cond.when_false)
            body = s.body if cond.static else s.orelse
            if leaves(body) or ends(body):
                return self.statements([*body, *rest])
            self.statements(body)
            return None

        def run(stmts: list[Any], refinements: Any) -> Any:
            def go() -> str:
                self.refine(refinements)
                kept, self.enclosing = self.enclosing, before
                status = self.statements(stmts)
                self.enclosing = kept
                return status

            return go

        before = dict(self.env)
        outside = _Outside(self.enclosing)

        if leaves(s.body) or leaves(s.orelse):
            a, b = ends(s.body), ends(s.orelse)
            first = s.body if a else [*s.body, outside, *rest] if b else s.body
            second = s.orelse if b else [*s.orelse, outside, *rest] if a else s.orelse
            status = self.branch(cond.value, run(first, cond.when_true), run(second, cond.when_false), s)
            if a or b:
                return status
            return self.unless_left(rest)
        status = self.branch(cond.value, run(s.body, cond.when_true), run(s.orelse, cond.when_false), s)
        if status == "raise":
            return "raise"
        for stmts, refinements in ((s.body, cond.when_false), (s.orelse, cond.when_true)):
            if ends(stmts):
                self.refine({n: t for n, t in refinements.items() if self.env.get(n) is before.get(n)})
        return None

    def branch(self, cond: Value, first: Any, second: Any, place: Any) -> str:
        """Emit an If of two branches and join what they assigned."""
        node = Node("prim::If", [cond], place=self.at(place) if place is not None else None)
        outer, before = self.block, self.env
        ends_, envs = [], []
        for run in (first, second):
            self.block, self.env = node.block(), dict(before)
            ends_.append(run())
            envs.append(self.env)
        self.block = outer
        outer.add(node)
        self.env = dict(before)
        names = [n for n in dict.fromkeys([*envs[0], *envs[1]]) if envs[0].get(n) is not envs[1].get(n) or envs[0].get(n) is not before.get(n)]  # fmt: skip
        for name in sorted(names):
            self.join(node, name, envs, ends_, before)
        if "raise" in ends_:
            return "raise" if ends_ == ["raise", "raise"] else ends_[1 - ends_.index("raise")]
        return "exit" if ends_ == ["exit", "exit"] else "fall"

    def join(self, node: Node, name: str, envs: list[dict[str, Any]], ends_: list[str], before: dict[str, Any]) -> None:
        if name in ("$kind", "$partial"):
            return
        values = []
        for env, end in zip(envs, ends_):
            v = env.get(name)
            old = before.get(name)
            if isinstance(v, Value) and v.node is not None and v.node.attrs.get("_refined") is old and old is not None:
                v = old
            values.append(v)
        a, b = values
        if a is b:
            self.env[name] = a
            return
        values = [env.get(name) for env in envs]  # a type that one branch proved matters where the other assigned
        special = name[0] == "$"
        for i, end in enumerate(ends_):
            dead = end == "raise" or (end == "exit" and not special and ends_[1 - i] != "exit")
            if dead and values[1 - i] is not None:
                if not isinstance(values[1 - i], Value):
                    self.env[name] = values[1 - i]
                    return
                values[i] = values[i] if values[i] is not None and isinstance(values[i], Value) and ty.subtype(values[i].type, values[1 - i].type) else self.absent(node.blocks[i], values[1 - i].type)  # fmt: skip
        if special:
            filler = {LEFT: False, RETURNED: False, GO: True}
            for i in range(2):
                if values[i] is None:
                    values[i] = self.absent(node.blocks[i], values[1 - i].type) if name == RESULT else self.constant(filler[name], block=node.blocks[i])  # fmt: skip
            known = [
                v.node.attrs.get("value") if v.node is not None and v.node.kind == "prim::Constant" else None
                for v in values
            ]
            if name != RESULT and known[0] is not None and known[0] == known[1]:
                self.env[name] = self.constant(known[0])
                return
        a, b = values
        if a is None or b is None:
            self.env.pop(name, None)
            self.env.setdefault("$partial", {})
            self.env["$partial"] = {**self.env["$partial"], name: "true" if a is None else "false"}
            return
        if not isinstance(a, Value) or not isinstance(b, Value):
            self.block, kept = node.blocks[0], self.block
            try:
                va = as_value(self, a, None)
                self.block = node.blocks[1]
                vb = as_value(self, b, None)
            except NotScript:
                self.env.pop(name, None)
                return
            finally:
                self.block = kept
            a, b = va, vb
        declared = self.declared.get(name)
        t = ty.unify(a.type, b.type, name == RESULT and isinstance(self.result, ty.Union))
        if t is None and name == RESULT and self.result is not None:
            t = self.result
        if t is None and declared is not None and ty.subtype(a.type, declared) and ty.subtype(b.type, declared):
            t = declared
        if t is None:
            if name == RESULT:
                self.fail(f"Previous return statement returned a value of type {a.type.annotation_str} but this return statement returns a value of type {b.type.annotation_str}", node.place)  # fmt: skip
            self.env.pop(name, None)
            self.env["$partial"] = {**self.env.get("$partial", {}), name: (a.type, b.type)}
            return
        for block, v in zip(node.blocks, (a, b)):
            block.returns.append(v)
        self.env[name] = node.output(t, self.label(name))

    def label(self, name: str) -> str:
        """The name of a variable's value: none for those of the compiler and of the printer."""
        if self.resolver.archive:
            name = name.rstrip("0123456789")
        return "" if name[0] == "$" or name == "_" else name

    def absent(self, block: Block, t: ty.Type) -> Value:
        n = block.add(Node("prim::Uninitialized"))
        return n.output(t)

    # ---- loops ----

    def loop(self, s: Any) -> str | None:
        while_ = isinstance(s, ast.While)
        if s.orelse:
            self.fail("else branches of for loops aren't supported", s)
        if not while_:
            source = self.iterable(s.iter)
            parts = source.items(self, s) if isinstance(source, Sugared) else None
            if parts is not None:
                for i, part in enumerate(parts):
                    self.assign(s.target, part)
                    if leaves(s.body):
                        if leaves(s.body) and not leaves(s.body, True):
                            self.fail("break and continue are not supported in loops over modules or tuples", s)
                        self.env.pop(LEFT, None)
                        status = self.statements(s.body) if not i else self.unless_left(s.body)
                        if status != "fall":
                            return status
                    else:
                        self.statements(s.body)
                return None
            count, element = self.iteration(source, s)
        broken = leaves(s.body)
        names = [n for n in sorted(assigned(s.body)) if n in self.env and isinstance(self.env[n], (Value, Items)) and n not in assigned([ast.Assign(targets=[s.target], value=ast.Constant(0))] if not while_ else [])]  # fmt: skip
        start: dict[str, Value] = {}
        for n in names:
            v = as_value(self, self.env[n], s)
            t = self.declared.get(n)
            if t is not None and ty.subtype(v.type, t):
                v = self.widened(v, t)
            start[n] = v
        returns = leaves(s.body, True)
        outer, before = self.block, self.env
        if returns:
            if self.result is None:
                self.result = self.scratch_result(s, count if not while_ else None, element if not while_ else None)
            start[RETURNED] = self.constant(False)
            start[RESULT] = self.env.get(RESULT) or self.node("prim::Uninitialized", [], self.result)
        trip = self.constant(FOREVER) if while_ else count
        node = Node("prim::Loop", place=self.at(s))
        going = as_value(self, self.condition(s.test).as_value(self), s) if while_ else self.constant(True)
        node.inputs = [trip, going, *start.values()]
        body = node.block()
        index = body.param(ty.INT)
        self.block, self.env = body, dict(before)
        kept, self.enclosing = self.enclosing, before
        self.env.pop(LEFT, None)
        self.env.pop(GO, None)
        for n, v in start.items():
            self.env[n] = body.param(v.type, self.label(n))
        if not while_:
            self.assign(s.target, element(index))
            if isinstance(s.target, ast.Name) and self.env[s.target.id] is index:
                index.name = self.label(s.target.id)
        self.depth += 1
        again = lambda: self.condition(s.test).as_value(self) if while_ else self.constant(True)
        outer_again, self.again = self.again, again
        if broken:
            self.statements([*s.body, _Again(again)])
            go = self.env.get(GO) or again()
        else:
            self.statements(s.body)
            go = again()
        self.again = outer_again
        self.depth -= 1
        body.returns = [go]
        for n, v in start.items():
            new = self.env.get(n)
            if new is None:
                self.fail(f"{n} is not defined on all paths of the loop", s)
            new = as_value(self, new, s)
            if not ty.subtype(new.type, v.type):
                new = convert(self, new, v.type, False)
            if not ty.subtype(new.type, v.type):
                self.fail(f"Variable '{n}' previously had type {v.type.annotation_str} but is now being assigned to a value of type {new.type.annotation_str}\n", s)  # fmt: skip
            body.returns.append(new)
        self.block, self.env, self.enclosing = outer, before, kept
        outer.add(node)
        for n, v in start.items():
            self.env[n] = node.output(v.type, self.label(n))
        if returns:
            self.env[LEFT] = self.env.pop(RETURNED)
            if self.depth:
                self.env[RETURNED] = self.env[LEFT]
                self.env[GO] = self.op("aten::__not__", self.env[LEFT])
        return None

    def scratch_result(self, s: Any, count: Any, element: Any) -> ty.Type:
        """What a loop's body returns, found by compiling it once for its type alone."""
        for n in ast.walk(s):
            if isinstance(n, ast.Return):
                mark, env = self.block, dict(self.env)
                self.block = Block()
                try:
                    if element is not None:
                        self.assign(s.target, element(self.block.param(ty.INT)))
                    for inner in s.body:
                        if inner is n or any(x is n for x in ast.walk(inner)):
                            if isinstance(inner, ast.If):
                                self.refine(self.condition(inner.test).when_true)
                                for x in inner.body:
                                    if x is n:
                                        break
                                    self.simple(x)
                            break
                        self.statements([inner])
                    return as_value(self, self.expression(n.value), n).type if n.value is not None else ty.NONE
                finally:
                    self.block, self.env = mark, env
        return ty.NONE

    def widened(self, v: Value, t: ty.Type) -> Value:
        """The value under a wider type."""
        if v.type == t:
            return v
        if v.node is not None and v.node.kind == "prim::Constant":
            return self.node("prim::Constant", [], t, None, **v.node.attrs)
        return self.node("prim::unchecked_cast", [v], t, None)

    # ---- with, raise, return ----

    def with_(self, s: ast.With) -> str:
        from flambeau.jit._language.values import Special

        item, *more = s.items
        body = [ast.copy_location(ast.With(items=more, body=s.body), s)] if more else s.body
        manager = self.expression(item.context_expr)
        if isinstance(manager, Special) and manager.name == "python manager":
            python, args = manager.fn
            node = Node("prim::With", args, place=self.at(s), _python=python)
            outer, before = self.block, dict(self.env)
            self.block = node.block()
            if leaves(body):
                self.fail("return, break and continue are not supported within a context manager of Python", s)
            status = self.statements(body)
            self.block = outer
            outer.add(node)
            for n, v in list(self.env.items()):
                if v is not before.get(n) and isinstance(v, Value):
                    node.blocks[0].returns.append(v)
                    self.env[n] = node.output(v.type, n)
            return status
        v = as_value(self, manager, s)
        if not isinstance(v.type, ty.Class) or "__enter__" not in v.type.methods:
            self.fail("Object in with statement does not define __enter__ and __exit__", s)
        made = self.node("prim::Enter", [v], v.type.methods["__enter__"].schema.result, s)
        if item.optional_vars is not None:
            self.assign(item.optional_vars, made)
        status = self.statements(body)
        self.node("prim::Exit", [v], None, s)
        return status

    def raise_(self, s: ast.Raise) -> None:
        exc = s.exc
        name, message = "", None
        if isinstance(exc, ast.Call):
            name = ast.unparse(exc.func)
            parts = [as_value(self, self.expression(a), s) for a in exc.args]
            if len(parts) == 1:
                message = parts[0] if parts[0].type is ty.STR else self.op("aten::str", parts[0])
            elif parts:
                message = self.op("aten::str", self.tuple_of(parts))
        elif exc is not None:
            name = ast.unparse(exc)
        message = message if message is not None else self.constant("")
        full = self.resolver.exception(name) if isinstance(exc, ast.Call) else None
        inputs = [message, self.constant(full)]
        schema = _raise_schema()
        self.block.add(Node("prim::RaiseException", inputs, schema, self.at(s)))

    def give(self, s: ast.Return) -> None:
        self.expected = self.result
        v = as_value(self, self.expression(s.value, self.result), s) if s.value is not None else self.constant(None)
        self.expected = None
        if self.result is not None:
            v = convert(self, v, self.result, True)
            if not ty.subtype(v.type, self.result):
                self.fail(f"Return value was annotated as having type {self.result.annotation_str} but is actually of type {v.type.annotation_str}", s)  # fmt: skip
        elif (
            self.env.get(RESULT) is None and self.result_seen is not None and ty.unify(v.type, self.result_seen) is None
        ):
            self.fail(f"Previous return statement returned a value of type {self.result_seen.annotation_str} but this return statement returns a value of type {v.type.annotation_str}", s)  # fmt: skip
        self.result_seen = v.type if self.result_seen is None else ty.unify(self.result_seen, v.type) or v.type
        self.env[RESULT] = v
        self.env[LEFT] = self.constant(True)
        self.env["$kind"] = "return"
        if self.depth:
            self.env[RETURNED] = self.constant(True)
            self.env[GO] = self.constant(False)

    # ---- the rest ----

    def simple(self, s: Any) -> None:
        match s:
            case ast.Expr():
                if not (isinstance(s.value, ast.Constant)):
                    self.expression(s.value)
            case ast.Assign():
                value = None
                self.statement = s
                for target in s.targets:
                    value = self.expression(s.value, self.hint(target)) if value is None else value
                    self.assign(target, value)
            case ast.AnnAssign():
                t = self.annotation(s.annotation)
                if s.value is None:
                    if isinstance(s.target, ast.Name):
                        self.declared[s.target.id] = t
                    return
                self.expected = t
                v = as_value(self, self.expression(s.value, t), s)
                self.expected = None
                v = convert(self, v, t, False)
                if not ty.subtype(v.type, t):
                    what = s.target.id if isinstance(s.target, ast.Name) else ast.unparse(s.target)
                    self.fail(f"Variable '{what}' is annotated with type {t.annotation_str} but is being assigned to a value of type {v.type.annotation_str}", s)  # fmt: skip
                if isinstance(s.target, ast.Name):
                    self.declared[s.target.id] = t
                    if v.type != t and not (
                        isinstance(t, ty.Optional) and v.type is not ty.NONE and not self.resolver.archive
                    ):
                        v = self.widened(v, t)
                self.assign(s.target, v)
            case ast.AugAssign():
                self.augmented(s)
            case ast.Assert():
                self.assertion(s)
            case ast.Delete():
                for target in s.targets:
                    if isinstance(target, ast.Subscript):
                        box = as_value(self, self.expression(target.value), s)
                        self.op("aten::Delete", box, as_value(self, self.expression(target.slice), s), place=s)
                    else:
                        self.env.pop(target.id, None)
            case _Again():
                self.env[GO] = s.run()
            case _Outside():
                self.enclosing = s.enclosing
            case ast.Pass():
                pass
            case ast.Global() | ast.Nonlocal() | ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.Try() | _:
                self.unsupported(s)

    def assertion(self, s: ast.Assert) -> None:
        cond = self.condition(s.test)
        if cond.static is True:
            self.refine(cond.when_true)
            return

        def bad() -> str:
            text = as_value(self, self.expression(s.msg), s) if s.msg is not None else self.constant("AssertionError: ")
            if s.msg is not None:
                text = self.op("aten::add", self.constant("AssertionError: "), text)
            self.block.add(Node("prim::RaiseException", [text, self.constant(None)], _raise_schema(), self.at(s)))
            return "raise"

        self.branch(as_value(self, cond.as_value(self), s), lambda: "fall", bad, s)
        self.refine(cond.when_true)

    def hint(self, target: Any) -> ty.Type | None:
        if isinstance(target, ast.Name):
            return self.declared.get(target.id)
        if isinstance(target, ast.Attribute):
            try:
                owner = self.expression(target.value)
                t = owner.type if isinstance(owner, Value) else owner.value(self, None).type
            except Exception:  # what is wrong with it is said where it is compiled
                return None
            return t.attributes.get(target.attr) if isinstance(t, ty.Class) else None
        return None


class _Again(ast.Pass):
    """The end of a loop's body, reached without leaving it: whether the loop goes on."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.run = run


class _Outside(ast.Pass):
    """The end of a branch whose other branch leaves: what follows in it stands behind the `if`."""

    def __init__(self, enclosing: dict[str, Any]) -> None:
        super().__init__()
        self.enclosing = enclosing


def _raise_schema() -> Any:
    from flambeau.jit._language.schema import overloads

    return overloads("prim::RaiseException")[0]
