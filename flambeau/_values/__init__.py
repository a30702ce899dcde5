"""Floor 1: dtypes, devices, shapes, storages, random streams. Knows no operator and no Tensor."""
