"""What every sparsifier does: attach masks to tensors of a model, renew them at each step, make them permanent."""

import abc
import copy
from collections import defaultdict

import flambeau
from flambeau import nn
from flambeau.nn.utils import parametrize
from flambeau.nn.utils.parametrize import type_before_parametrizations

from .utils import FakeSparsity, get_arg_info_from_tensor_fqn, module_contains_param, module_to_fqn, swap_module

__all__ = ["BaseSparsifier"]

SUPPORTED_MODULES = {nn.Linear}

KEYS_NOT_IN_STATE_DICT = ["module", "module_fqn", "tensor_name"]


class BaseSparsifier(abc.ABC):
    """Masks over tensors of a model. A subclass says in ``update_mask`` how a mask is chosen.

    ``defaults`` fill in what a group of the configuration leaves out. A group names its tensor by ``tensor_fqn``;
    the state is kept by that name.
    """

    def __init__(self, defaults=None):
        super().__init__()
        self.defaults = defaults or {}
        self.state = defaultdict(dict)
        self.groups = []
        self.enable_mask_update = True

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "groups": self.groups}

    def __setstate__(self, state):
        self.__dict__.update(state)

    def __repr__(self):
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.groups):
            rows = "".join(f"\t    {key}: {group[key]}\n" for key in sorted(group) if key != "module")
            text += f"\n\tGroup {i}\n\t    module: {group['module']}\n{rows}"
        return text + ")"

    def state_dict(self):
        """The masks by the names of their tensors (``state``), and the configuration (``groups``)."""
        groups = [{k: v for k, v in group.items() if k not in KEYS_NOT_IN_STATE_DICT} for group in self.groups]
        return {"state": self.state, "groups": groups}

    def load_state_dict(self, state_dict, strict=True):
        """Takes over masks and configuration; the model must have been prepared."""
        groups, states = copy.deepcopy(state_dict["groups"]), state_dict["state"]
        for tensor_fqn, state in states.items():
            info = get_arg_info_from_tensor_fqn(self.model, tensor_fqn)
            module, name = info["module"], info["tensor_name"]
            if strict and module is None:
                raise RuntimeError(f"Error loading {tensor_fqn} into the model")
            sparsity = next((p for p in module.parametrizations[name] if isinstance(p, FakeSparsity)), None)
            if sparsity is None:
                sparsity = FakeSparsity(flambeau.ones(getattr(module, name).shape))
                parametrize.register_parametrization(module, name, sparsity)
            if state.get("mask") is not None:
                sparsity.mask = state.pop("mask")
            for group in groups:
                if group["tensor_fqn"] == tensor_fqn:
                    group.update(info)
        self.__setstate__({"state": states, "groups": groups})

    def make_config_from_model(self, model, SUPPORTED_MODULES=SUPPORTED_MODULES):
        """The configuration of all weights of supported modules."""
        self.config = []
        stack = [model]
        while stack:
            for child in stack.pop().children():
                if type(child) not in SUPPORTED_MODULES:
                    stack.append(child)
                    continue
                fqn = module_to_fqn(model, child)
                if not isinstance(fqn, str):
                    raise AssertionError("module_fqn must be a string")
                self.config.append({"tensor_fqn": fqn + ".weight"})

    def prepare(self, model, config):
        """Parametrizes the tensors that ``config`` names, in place; all weights of linear modules where it is ``None``."""
        self.model = model
        self.config = config
        if self.config is None:
            self.make_config_from_model(model)
        for given in self.config:
            if not isinstance(given, dict):
                raise AssertionError(
                    "config elements should be dicts not modules i.e.:"
                    "[{`tensor_fqn`: `foo.bar.weight`}, {`tensor_fqn`: ... }, ...]"
                )
            if not isinstance(self.defaults, dict):
                raise AssertionError("defaults must be a dict")
            group = {**copy.deepcopy(self.defaults), **given}
            tensor_fqn = group.get("tensor_fqn")
            if tensor_fqn is None:
                raise AssertionError(
                    "tensor_fqn is a required argument in the sparsity config which "
                    "replaces previous `module` and [module]`fqn` arguments"
                )
            info = get_arg_info_from_tensor_fqn(model, tensor_fqn)
            for key, value in info.items():
                # a name may be given with a leading dot
                if key in group and value != group[key] and (key != "tensor_fqn" or "." + value != group[key]):
                    raise AssertionError(
                        f"Given both `{key}` and `tensor_fqn` in the config, it is expected them to agree!"
                    )
            group.update(info)
            self.groups.append(group)
        self._prepare()

    def _prepare(self, *args, **kwargs):
        for group in self.groups:
            module, name = group["module"], group["tensor_name"]
            mask = group.get("mask", flambeau.ones_like(getattr(module, name)))
            self.state[group["tensor_fqn"]]["mask"] = mask
            parametrization = group.get("parametrization", FakeSparsity)
            parametrize.register_parametrization(module, name, parametrization(mask))

    def squash_mask(self, params_to_keep=None, params_to_keep_per_layer=None, *args, **kwargs):
        """Makes the masks permanent and removes the parametrizations.

        Entries of the configuration that are to be kept, for all modules or by a module's name, are left in
        ``module.sparse_params``.
        """
        for group in self.groups:
            module = group["module"]
            parametrize.remove_parametrizations(module, group["tensor_name"], leave_parametrized=True)
            keep = [*(params_to_keep or ()), *((params_to_keep_per_layer or {}).get(group["module_fqn"]) or ())]
            if keep:
                module.sparse_params = {key: group[key] for key in keep}

    def convert(self, module, mapping=None, inplace=False, parameterization=FakeSparsity):
        """Exchanges masked modules for what ``mapping`` names for their types, by its ``from_dense``."""
        if mapping is None:
            raise NotImplementedError("Need to auto generate mapping ")
        if not inplace:
            module = copy.deepcopy(module)
        for name, child in list(module.named_children()):
            if module_contains_param(child, parameterization) and type_before_parametrizations(child) in mapping:
                module._modules[name] = swap_module(child, mapping)
            else:
                self.convert(child, mapping, inplace=True, parameterization=parameterization)
        return module

    def step(self, use_path=True):
        """Renews every mask."""
        if self.enable_mask_update:
            with flambeau.no_grad():
                for group in self.groups:
                    self.update_mask(**group)

    @abc.abstractmethod
    def update_mask(self, module, tensor_name, **kwargs):
        """Renews the mask of one tensor; what else its group holds comes as keywords."""
