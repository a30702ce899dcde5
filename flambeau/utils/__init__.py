"""Tools around the library: data loading, checkpointing, pytrees; submodules load when first used."""
