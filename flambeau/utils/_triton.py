"""What Triton can do: it is not used."""


def has_triton_package():
    """Whether programs may be written for Triton."""
    return False


has_triton = has_triton_tma = has_triton_tma_device = has_triton_stable_tma_api = has_triton_package
has_triton_experimental_host_tma = has_triton_tensor_descriptor_host_tma = has_triton_package
has_datacenter_blackwell_tma_device = has_triton_package


def get_triton_version(fallback=(0, 0)):
    """Its version."""
    return fallback
