"""Branches and maps that graphs keep."""

from flambeau._higher_order_ops import cond as cond, map as map
