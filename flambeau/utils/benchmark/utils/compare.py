"""`Compare`: measurements as a table; a row per statement, a column per description."""

import enum
import math

from flambeau.utils.benchmark.utils import common

__all__ = ["Colorize", "Compare"]

BEST, GOOD, BAD, VERY_BAD = "\033[92m", "\033[34m", "\033[2m\033[91m", "\033[31m"
BOLD, TERMINATE = "\033[1m", "\033[0m"


class Colorize(enum.Enum):
    """What the best time is looked for in."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


def _digits(value):
    return math.ceil(math.log10(value))


def _color(segment, value, best):
    """The text of a time, coloured by how far it is from the best."""
    if value <= best * 1.01 or value <= best + 100e-9:
        return BEST + BOLD + segment + TERMINATE * 2
    if value <= best * 1.1:
        return GOOD + BOLD + segment + TERMINATE * 2
    if value >= best * 5:
        return VERY_BAD + BOLD + segment + TERMINATE * 2
    if value >= best * 2:
        return BAD + segment + TERMINATE * 2
    return segment


class _Column:
    """How the times of one column are written: all with the same digits behind the point."""

    def __init__(self, measurements, scale, trim, highlight) -> None:
        found = [m for m in measurements if m is not None]
        self.scale, self.trim = scale, trim
        self.highlight = highlight and any(m.has_warnings for m in found)
        digits = [_digits(m.median / scale) for m in found]
        decimals = min(max(m.significant_figures - d, 0) for m, d in zip(found, digits, strict=True)) if trim else 1
        length = max(digits) + decimals + (1 if decimals else 0)
        self.template = f"{{:>{length}.{decimals}f}}{{:>{7 if self.highlight else 0}}}"

    def text(self, m):
        if m is None:
            return " " * len(self.template.format(1.0, ""))
        value = m.median / self.scale
        if self.trim:
            value = common.trim_sigfig(value, m.significant_figures)
        spread = f" (! {m.iqr / m.median * 100:.0f}%)" if self.highlight and m.has_warnings else ""
        return self.template.format(value, spread)


class Table:
    """The table of all measurements of one label."""

    def __init__(self, results, colorize, trim_significant_figures, highlight_warnings) -> None:
        if len({m.label for m in results}) != 1:
            raise AssertionError("All results must share the same label")
        self.results, self.label = results, results[0].label
        self.colorize, self.highlight = colorize, highlight_warnings
        self.time_unit, self.time_scale = common.select_unit(min(m.median for m in results))
        keys = common.ordered_unique((m.num_threads, m.env, m.as_row_name) for m in results)
        self.row_keys = sorted(keys, key=lambda key: key[:2])  # statements stay in order
        self.column_keys = common.ordered_unique(m.description for m in results)
        cells = {((m.num_threads, m.env, m.as_row_name), m.description): m for m in results}
        self.cells = [[cells.get((row, column)) for column in self.column_keys] for row in self.row_keys]
        self.columns = [
            _Column(column, self.time_scale, trim_significant_figures, highlight_warnings)
            for column in zip(*self.cells, strict=True)
        ]

    def _texts(self):
        """The rows as text: names and times, not yet aligned."""
        envs = {m.env for m in self.results}
        width = max(map(len, envs)) if len(envs) > 1 else 0
        before = None
        for (threads, env, name), row in zip(self.row_keys, self.cells, strict=True):
            shown = f"({env})" if len(envs) > 1 and (threads, env) != before else ""
            before = (threads, env)
            yield ["  " + shown.ljust(width + 4) + name, *(c.text(m) for c, m in zip(self.columns, row, strict=True))]

    def _best(self, row, threads):
        """For each time of a row, the one it is compared with."""
        if self.colorize == Colorize.ROWWISE:
            return [min(m.median for m in row if m is not None)] * len(row)
        group = [r for key, r in zip(self.row_keys, self.cells, strict=True) if key[0] == threads]
        return [min((m.median for m in column if m is not None), default=None) for column in zip(*group, strict=True)]

    def render(self) -> str:
        """The table as text."""
        texts = list(self._texts())
        header = ["", *(key if key is not None else "" for key in self.column_keys)]
        widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
        lines = ["  |  ".join(text.center(w) for text, w in zip(header, widths, strict=True))]
        overall, before = len(lines[0]), None
        for (threads, _, _), row, text in zip(self.row_keys, self.cells, texts, strict=True):
            if threads != before:
                lines.append(f"{threads} threads: ".ljust(overall, "-"))
                before = threads
            parts = [text[0].ljust(widths[0])]
            bests = self._best(row, threads) if self.colorize != Colorize.NONE else [None] * len(row)
            for part, width, m, best in zip(text[1:], widths[1:], row, bests, strict=True):
                part = part.center(width)
                parts.append(part if m is None or best is None else _color(part, m.median, best))
            lines.append("  |  ".join(parts))
        title = f"[{(' ' + (self.label or '') + ' ').center(overall - 2, '-')}]"
        unit = f"Times are in {common.unit_to_english(self.time_unit)}s ({self.time_unit})."
        warned = self.highlight and any(m.has_warnings for m in self.results)
        note = "(! XX%) Measurement has high variance, where XX is the IQR / median * 100.\n" if warned else ""
        return "\n".join([title, *lines, "", unit, note])


class Compare:
    """Collects measurements; printed, it is a table for each label. Measurements of one task are merged.

    >>> from flambeau.utils.benchmark import Compare, Measurement, TaskSpec
    >>> print(Compare([Measurement(1, [3e-6], TaskSpec("x + 1", "", label="add", description="f32"))]))
    [------ add ------]
                 |  f32
    1 threads: --------
          x + 1  |  3.0
    <BLANKLINE>
    Times are in microseconds (us).
    <BLANKLINE>
    """

    def __init__(self, results) -> None:
        self._results: list[common.Measurement] = []
        self.extend_results(results)
        self._trim_significant_figures = False
        self._colorize = Colorize.NONE
        self._highlight_warnings = False

    def __str__(self) -> str:
        return "\n".join(self._render())

    def extend_results(self, results) -> None:
        """Adds measurements."""
        for r in results:
            if not isinstance(r, common.Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
        self._results.extend(results)

    def trim_significant_figures(self) -> None:
        """Shows only the digits that mean something."""
        self._trim_significant_figures = True

    def colorize(self, rowwise=False) -> None:
        """Colours times by how far they are from the best of their column, or row."""
        self._colorize = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Marks times that spread much."""
        self._highlight_warnings = True

    def print(self) -> None:
        """Prints the tables."""
        print(str(self))

    def _render(self):
        groups: dict[str | None, list[common.Measurement]] = {}
        for m in common.Measurement.merge(self._results):
            groups.setdefault(m.label, []).append(m)
        options = (self._colorize, self._trim_significant_figures, self._highlight_warnings)
        return [Table(group, *options).render() for group in groups.values()]
