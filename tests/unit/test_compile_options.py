"""What `torch.compile` refuses, what backends get, and which there are."""

import pytest


class InvalidBackend(RuntimeError):
    """By its name."""


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "fast"},
        {"options": {"nowhere": 1}},
        {"options": {"max_autotune": 3}},
        {"options": {"epilogue-fusion": "yes"}},
        {"backend": "nowhere"},
        {"mode": "default", "options": {"max_autotune": True}},
    ],
    ids=str,
)
def test_refused(agree, how):
    agree(
        lambda fl: fl.compile(lambda x: x + 1, **how),
        grads=0,
        raises=InvalidBackend if "backend" in how else RuntimeError,
    )


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_function(agree):
    agree(lambda fl: fl.compile(3), grads=0, raises=AssertionError)


@pytest.mark.parametrize("how", [{"mode": "max-autotune"}, {"options": {"triton.cudagraphs": True, "max-autotune": False}}, {}], ids=str)  # fmt: skip
def test_backends_get_mode_and_options(agree, how):
    def program(fl):
        seen = []

        def backend(graph, examples, **given):
            seen.append(given)
            return graph.forward

        fl.compile(lambda x: x + 1, backend=backend, **how)(fl.ones(2))
        return seen

    agree(program, grads=0)


def test_names(agree):
    def program(fl):
        modes, options = fl._inductor.list_mode_options(), fl._inductor.list_options()
        return (
            fl._dynamo.list_backends(), modes, fl._inductor.list_mode_options("reduce-overhead"), options,
            [n for n in ("eager", "aot_eager", "ts", "eager_noexcept") if n in fl._dynamo.list_backends(None)],
        )  # fmt: skip

    agree(program, grads=0)
