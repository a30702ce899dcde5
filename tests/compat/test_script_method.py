"""What graph drawers ask of a scripted module: whether what they call is one of its methods."""

import flambeau as torch


def test_a_scripted_modules_methods_have_their_type():
    from flambeau._C import ScriptMethod

    module = torch.jit.script(torch.nn.Linear(2, 3))
    assert isinstance(module.forward, ScriptMethod)
    assert not isinstance(torch.nn.Linear(2, 3).forward, ScriptMethod)
