"""Questions about the processor; PyTorch 2.13 asks none of them here, and libraries look before they ask."""
