"""draft_export: a program in any case, and what stood against it."""

import gc

import pytest

import flambeau
from flambeau.export import Dim, draft_export

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def trace_collected():
    """PyTorch leaves the file of a draft's trace open: collected here, no later test is told of it."""
    yield
    gc.collect()


def modules(fl):
    class Plain(fl.nn.Module):
        def forward(self, x, y):
            return x + y

    class Read(fl.nn.Module):
        def forward(self, x, y):
            return x * 2 if x.sum().item() > 0 else y

    return Plain(), Read()


@pytest.mark.parametrize("case", ["sound", "read", "sizes"])
def test_reports(agree, case):
    def program(fl):
        a, b = (fl.export.Dim(n) for n in "ab")
        shapes = {"sizes": ({0: a}, {0: b}), "sound": ({0: a}, {0: a})}.get(case)
        made = fl.export.draft_export(modules(fl)[case == "read"], (fl.ones(3), fl.ones(3)), dynamic_shapes=shapes)
        n = 3 if case == "read" else 5
        report = made._report
        return report.successful(), [str(f.failure_type) for f in report.failures], made.module()(fl.ones(n), fl.ones(n)), str(report) * report.successful()  # fmt: skip

    agree(program, grads=0)


def test_what_a_report_says():
    report = draft_export(modules(flambeau)[1], (flambeau.ones(3), flambeau.ones(3)))._report
    text = str(report)
    assert "1 issue(s) found during export" in text
    assert "Data dependent error" in text and "x.sum().item() > 0" in text
    assert report.failures[0].data["occurrences"] == 1
    sizes = draft_export(
        modules(flambeau)[0], (flambeau.ones(3), flambeau.ones(3)), dynamic_shapes=({0: Dim("a")}, None)
    )._report
    assert "Constraints violated" in str(sizes) and "dynamic_shapes = " in str(sizes)


def test_other_errors_stay_errors():
    with pytest.raises(Exception, match="tuple"):
        draft_export(modules(flambeau)[0], [flambeau.ones(3)])
