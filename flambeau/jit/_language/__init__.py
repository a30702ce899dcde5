"""TorchScript itself: types, graphs, and the ways between Python, graphs and archives."""
