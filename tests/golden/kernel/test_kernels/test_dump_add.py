def kernel(out0: "out float32", p0: "in float32", p1: "in float32", n0, vector="i0"):
  for i0 in outer(n0):
    out0[i0] = (p0[i0] + p1[i0])
# (120,) grain (273, 128) chunks 1
