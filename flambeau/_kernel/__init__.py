"""Floor 2: the kernel language, its readings, the IR, fusion and loops. Knows no Tensor and no device."""
