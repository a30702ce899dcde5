"""Loop programs -> LLVM IR text -> object code, for any CPU target. Knows no array, no thread and no cache.

The native signature of every kernel (the contract with launch, threads and cache):

    void k(ptr args, i64 begin, i64 end, ptr scratch)

- `args` points to 8-byte slots, in the order of the kernel's own fields:
    1. one slot per `kernel.buffers`: the address of the view's first element (index 0 in every dimension, whatever the
       signs of the strides). Outputs come first. A buffer of kind "scalar" holds the value itself, as the bits of a
       float64 (floating dtypes) or an int64 (integers, bool), so that Python numbers need no array;
    2. one slot per `kernel.sizes`: extents and strides (in elements, not bytes) as int64, from the binding.
    3. two slots more: rows per chunk, columns per chunk (int64), from the binding (`Launch.grain`).
- `begin`, `end` are a range of chunks out of `Launch.chunks`. Chunks are cut by size alone, never by the number of
  threads; each writes elements no other chunk writes, so any partition of range(chunks) over any threads, in any
  order, gives the same bits. `begin == end` is allowed and does nothing.
- `scratch` is private to the call: at least `Launch.scratch` bytes, aligned to 64; may be null when that is 0. Nothing
  in it survives the call.

A kernel never calls back, allocates, raises or touches thread-local state, and may run without the GIL. Several
launches of one program run in order: all chunks of one end before the next begins (partial results of a reduction are
combined by a second, small launch in a fixed order). An output may be the very same view as an input (in-place);
other overlap is the caller's business to avoid. Buffers need only the alignment of their element.
"""
