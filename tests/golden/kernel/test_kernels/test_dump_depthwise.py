def kernel(out0: "out float32", p0: "in float32", p1: "in float32", n0, n1, n2, n3, n4, n5, s0, s1, s2, s3, s4, c0, s5, s6, c1, g0, s7, c2, g1, s8, s9, s10, s11, s12, s13, vector="i3"):
  for i0 in outer(n0):
    for i1 in outer(n1):
      for i2 in outer(n2):
        for i3 in outer(n3):
          acc0 = float32(0.0)
          for j0 in inner(n4):
            for j1 in inner(n5):
              acc0 = acc0 + ((p0[i0 * s0 + i1 * s1 + i2 * s2 + j0 * s3 + i3 + j1 * s4 + c0] if 0 <= i2 * s5 + j0 * s6 + c1 < g0 and 0 <= i3 + j1 * s7 + c2 < g1 else 0.0) * p1[i1 * s8 + j0 * s9 + j1 * s10])
          out0[i0 * s11 + i1 * s12 + i2 * s13 + i3] = acc0
# (2, 3, 6, 17, 3, 3, 306, 102, 17, 17, 1, -18, 1, 1, -1, 6, 1, -1, 17, 9, 3, 1, 306, 102, 17) grain (192, 64) chunks 1
