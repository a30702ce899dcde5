"""functorch's newer parts under its names."""

from flambeau.func import functionalize as functionalize
