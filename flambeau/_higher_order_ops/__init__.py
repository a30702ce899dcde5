"""Operators that take functions, run as they are written: branches, loops and scans.

PyTorch's compiler keeps them as one node of its graph; here they are the Python that they mean, through which gradients flow.
"""

from flambeau._higher_order_ops.associative_scan import associative_scan as associative_scan
from flambeau._higher_order_ops.cond import cond as cond
from flambeau._higher_order_ops.foreach_map import foreach_map as foreach_map
from flambeau._higher_order_ops.map import map as map
from flambeau._higher_order_ops.out_dtype import out_dtype as out_dtype
from flambeau._higher_order_ops.scan import scan as scan
from flambeau._higher_order_ops.while_loop import while_loop as while_loop
