def kernel(out0: "out float32", p0: "in float32", n0, vector="j0"):
  acc0 = float32(0.0)
  for j0 in inner(n0):
    acc0 = acc0 + p0[j0]
  out0[0] = acc0
# (165,) grain (197, 1) chunks 1
