def kernel(out0: "out float32", p0: "in float32", n0, n1, s0, vector="j0"):
  for i0 in outer(n0):
    acc0 = float64(0.0)
    for j0 in inner(n1):
      acc0 = acc0 + float64(p0[i0 * s0 + j0])
      out0[i0 * s0 + j0] = (float32(acc0) * 2.0)
# (5, 70, 70) grain (468, 1) chunks 1
