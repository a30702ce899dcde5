def kernel(part0: "out float32", p0: "in float32", n0, n1, n2, s0, s1, vector="j0"):
  for b0 in outer(n0):
    acc0 = float32(0.0)
    for j0 in inner(min(n1, n2 - b0 * n1)):
      v0 = p0[b0 * s0 + j0]
      acc0 = acc0 + (v0 * v0)
    part0[b0 * s1] = acc0
# (5, 16384, 70000, 16384, 1) grain (1, 1) chunks 5

def kernel(out0: "out float32", part0: "in float32", n0, vector="b0"):
  acc0 = float32(0.0)
  for b0 in inner(n0):
    acc0 = acc0 + part0[b0]
  out0[0] = acc0
# (5,) grain (5461, 1) chunks 1
