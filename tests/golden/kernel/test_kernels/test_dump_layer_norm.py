def kernel(out0: "out float32", p0: "in float32", p1: "in float32", p2: "in float32", n0, n1, s0, m0, vector="j0"):
  for i0 in outer(n0):
    acc0 = float32(0.0)
    for j0 in inner(n1):
      acc0 = acc0 + p0[i0 * s0 + j0]
    acc1 = float32(0.0)
    for j0 in inner(n1):
      v0 = (p0[i0 * s0 + j0] - (acc0 / float32(m0)))
      acc1 = acc1 + (v0 * v0)
    for j0 in inner(n1):
      out0[i0 * s0 + j0] = ((((p0[i0 * s0 + j0] - (acc0 / float32(m0))) * rsqrt(((acc1 / float32(m0)) + 1e-05))) * p1[j0]) + p2[j0])
# (6, 40, 40, 40) grain (163, 1) chunks 1
