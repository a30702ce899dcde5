"""Where other libraries look for `OptimizedModule`, and ask whether functions can be captured."""

from flambeau._capture.api import OptimizedModule as OptimizedModule
from flambeau._dynamo import is_dynamo_supported as is_dynamo_supported
