"""`ModTracker`: names of the modules that run, forward and backward, and the functions that it calls."""

import importlib

from tests.agree import rand


def test_forward_and_backward_are_told(agree):
    def run(fl, x):
        tracker = importlib.import_module(f"{fl.__name__}.distributed._tools.mod_tracker").ModTracker()
        net = fl.nn.Sequential(fl.nn.Linear(4, 4), fl.nn.Sequential(fl.nn.ReLU(), fl.nn.Linear(4, 2))).double()
        said = []
        say = lambda word: (
            lambda module, *_: said.append(
                (word, tracker.get_known_fqn(module), tracker.is_bw, sorted(tracker.parents))
            )
        )
        tracker.register_user_hooks(say("forward"), say("done"), say("backward"), say("over"))
        with tracker:
            net(x.detach()).sum().backward()
        tracker.clear_user_hooks()
        with tracker:
            net(x)
        return said, sorted(tracker.parents)

    agree(run, rand(3, 4))


def test_one_function_of_each_kind(agree):
    def run(fl, x):
        tracker = importlib.import_module(f"{fl.__name__}.distributed._tools.mod_tracker").ModTracker()
        tracker.register_user_hooks(post_fw_hook=print)
        tracker.register_user_hooks(post_fw_hook=print)

    agree(run, rand(2), raises=AssertionError)
