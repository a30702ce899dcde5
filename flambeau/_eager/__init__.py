"""Floor 4: where operators meet tensors: the derived functions, the graph, views, modes."""
