def kernel(out0: "out float32", p0: "in float32", p1: "in float32", n0, n1, n2, s0, s1, s2, vector="i2"):
  for i0 in outer(n0):
    for i1 in outer(n1):
      for i2 in outer(n2):
        out0[i0 * s0 + i1 * s1 + i2] = (exp((p0[i0 * s0 + i1 * s1 + i2] + p1[i1 * s2])) * 2.0)
# (3, 4, 37, 148, 37, 1) grain (295, 64) chunks 1
