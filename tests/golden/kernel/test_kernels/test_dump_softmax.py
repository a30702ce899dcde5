def kernel(out0: "out float32", p0: "in float32", row0: "row float32 n2", n0, n1, s0, n2, vector="j0"):
  for i0 in outer(n0):
    acc0 = float32(-inf)
    for j0 in inner(n1):
      acc0 = maximum(acc0, p0[i0 * s0 + j0])
    acc1 = float32(0.0)
    for j0 in inner(n1):
      v0 = exp((p0[i0 * s0 + j0] - acc0))
      row0[j0] = v0
      acc1 = acc1 + v0
    for j0 in inner(n1):
      out0[i0 * s0 + j0] = (row0[j0] / acc1)
# (5, 70, 70, 70) grain (93, 1) chunks 1
