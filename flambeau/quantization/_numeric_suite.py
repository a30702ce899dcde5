"""The older name of `ao.ns._numeric_suite`."""

import sys

from flambeau.ao.ns import _numeric_suite

sys.modules[__name__] = _numeric_suite
