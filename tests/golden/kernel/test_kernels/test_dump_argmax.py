def kernel(out0: "out int64", p0: "in float32", n0, n1, s0, m0, s1, vector="j0"):
  for i0 in outer(n0):
    acc0 = float32(-inf)
    for j0 in inner(n1):
      acc0 = maximum(acc0, p0[i0 * s0 + j0])
    acc1 = int64(9223372036854775807)
    for j0 in inner(n1):
      v0 = p0[i0 * s0 + j0]
      acc1 = minimum(acc1, where(logical_or((v0 == acc0), isnan(v0)), index(j0), int64(m0)))
    out0[i0 * s1] = acc1
# (5, 40, 40, 40, 1) grain (404, 1) chunks 1
