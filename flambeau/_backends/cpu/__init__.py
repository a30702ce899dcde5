"""The CPU: NumPy and SciPy for arrays, LLVM for kernels."""
