def kernel(out0: "out float32", p1: "in int64", p0: "in float32", n0, n1, s0, s1, vector="i1"):
  for i0 in outer(n0):
    for i1 in outer(n1):
      out0[i0 * s0 + i1] = p0[at(p1[i0 * s0 + i1]) * s1 + i1]
# (5, 20, 20, 20) grain (1638, 64) chunks 1
