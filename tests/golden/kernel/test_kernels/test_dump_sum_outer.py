def kernel(out0: "out float32", p0: "in float32", n0, n1, s0, vector="i0"):
  for i0 in outer(n0):
    acc0 = float32(0.0)
    for j0 in inner(n1):
      acc0 = acc0 + p0[j0 * s0 + i0]
    out0[i0] = acc0
# (70, 33, 70) grain (13, 128) chunks 1
