"""Which module needs which."""

from collections import deque


class DiGraph:
    """Nodes with facts, and edges, in the order in which they came."""

    def __init__(self):
        self._node: dict = {}
        self._succ: dict = {}
        self._pred: dict = {}

    def add_node(self, n, **kwargs):
        """A node, or more facts about it."""
        self._succ.setdefault(n, {})
        self._pred.setdefault(n, {})
        self._node.setdefault(n, {}).update(kwargs)

    def add_edge(self, u, v):
        """u needs v."""
        self.add_node(u)
        self.add_node(v)
        self._succ[u][v] = self._pred[v][u] = True

    def _next(self, table, n):
        if n not in table:
            raise ValueError(f"The node {n} is not in the digraph.")
        return iter(table[n])

    def successors(self, n):
        """What n needs."""
        return self._next(self._succ, n)

    def predecessors(self, n):
        """What needs n."""
        return self._next(self._pred, n)

    @property
    def edges(self):
        """(u, v) for each u that needs v."""
        for u, needed in self._succ.items():
            for v in needed:
                yield u, v

    @property
    def nodes(self):
        """{node: facts}."""
        return self._node

    def __iter__(self):
        return iter(self._node)

    def __contains__(self, n):
        try:
            return n in self._node
        except TypeError:
            return False

    def _closure(self, start, step):
        found, waiting = {start}, deque([start])
        while waiting:
            for n in step(waiting.popleft()):
                if n not in found:
                    found.add(n)
                    waiting.append(n)
        return found

    def forward_transitive_closure(self, src: str) -> set[str]:
        """All that src needs, directly or not, and itself."""
        return self._closure(src, self.successors)

    def backward_transitive_closure(self, src: str) -> set[str]:
        """All that needs src, directly or not, and itself."""
        return self._closure(src, self.predecessors)

    def all_paths(self, src: str, dst: str) -> str:
        """The part of the graph between two nodes, as a graph of Graphviz's; "" if there is none."""
        between = self.forward_transitive_closure(src)
        made = DiGraph()
        if dst not in between:
            return ""
        between &= self.backward_transitive_closure(dst)
        for u, v in self.edges:
            if u in between and v in between:
                made.add_edge(u, v)
        return made.to_dot()

    def first_path(self, dst: str) -> list[str]:
        """How a node came in: from each, back to the first that needed it."""
        order = {n: i for i, n in enumerate(self._node)}
        path = [dst]
        while self._pred[path[-1]]:
            before = min(self._pred[path[-1]], key=order.__getitem__)
            if before in path:
                break
            path.append(before)
        return path[::-1]

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        edges = "\n".join(f'"{u}" -> "{v}";' for u, v in self.edges)
        return f"digraph G {{\nrankdir = LR;\nnode [shape=box];\n{edges}\n}}\n"
