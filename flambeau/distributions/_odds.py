"""What distributions given by a probability or by its log-odds share."""

from __future__ import annotations

from typing import Any

from flambeau.distributions.utils import lazy_property, logits_to_probs, probs_to_logits


class Odds:
    """`_param` is the one of `probs` and `logits` that was given; the other is worked out when first asked for."""

    _param: Any
    param_shape = property(lambda self: self._param.size())

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        new._param = new.__dict__.get("probs", new.__dict__.get("logits"))

    def _new(self, *args: Any, **kwargs: Any) -> Any:
        return self._param.new(*args, **kwargs)

    @lazy_property
    def logits(self) -> Any:
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        return logits_to_probs(self.logits, is_binary=True)
