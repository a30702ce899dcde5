"""Where other libraries look for `OptimizedModule`."""

from flambeau._capture.api import OptimizedModule as OptimizedModule
