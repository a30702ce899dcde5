"""What layers fused with batch normalization share: whether its statistics are kept up to date or frozen."""

import flambeau
from flambeau import nn


class Normalized:
    """Mixed into a layer that has ``bn`` and ``weight_fake_quant``."""

    def _normalize(self, bn, bias, freeze_bn, qconfig):
        """Sets up what stands beside the weight."""
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        self.qconfig = qconfig
        self.freeze_bn = freeze_bn if self.training else True
        self.bn = bn
        self.weight_fake_quant = qconfig.weight()
        if bias:
            self.bias = nn.Parameter(flambeau.empty(self.weight.shape[0]))
        else:
            self.register_parameter("bias", None)
        self.reset_bn_parameters()
        if self.training and not freeze_bn:
            self.update_bn_stats()
        else:
            self.freeze_bn_stats()

    def reset_running_stats(self):
        """Forgets the statistics."""
        self.bn.reset_running_stats()

    def update_bn_stats(self):
        """From now on, normalization is by the batch and statistics are updated."""
        self.freeze_bn = False
        self.bn.training = True
        return self

    def freeze_bn_stats(self):
        """From now on, normalization is by the statistics as they are."""
        self.freeze_bn = True
        self.bn.training = False
        return self

    def train(self, mode=True):
        """Frozen normalization stays as it is."""
        self.training = mode
        if not self.freeze_bn:
            for module in self.children():
                module.train(mode)
        return self

    def _take_over(self, layer, bn):
        """The parameters of a layer, and the parameters and statistics of its normalization."""
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(self.bn, name, getattr(bn, name))
