"""functorch, as PyTorch ships it beside itself: `torch.func` under its older name, whose functions say so when they are called."""

import flambeau
from flambeau._functorch.deprecated import (
    combine_state_for_ensemble as combine_state_for_ensemble,
    functionalize as functionalize,
    grad as grad,
    grad_and_value as grad_and_value,
    hessian as hessian,
    jacfwd as jacfwd,
    jacrev as jacrev,
    jvp as jvp,
    make_functional as make_functional,
    make_functional_with_buffers as make_functional_with_buffers,
    vjp as vjp,
    vmap as vmap,
)
from flambeau._functorch.make_functional import (
    FunctionalModule as FunctionalModule,
    FunctionalModuleWithBuffers as FunctionalModuleWithBuffers,
)
from flambeau.fx.experimental.proxy_tensor import make_fx as make_fx

__version__ = flambeau.__version__
