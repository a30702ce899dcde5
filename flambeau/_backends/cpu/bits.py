"""Text that vector mathematics needs for rare arguments: the bits of 2/pi, and long division. No function of reals."""

TWO_OVER_PI = int(
    "A2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424DD2E006492EEA09D1921C"
    "FE1DEB1CB129A73EE88235F52EBB4484E99C7026B45F7E413991D639835339F49C845F8BBDF9283B1FF897FFDE05980F"
    "EF2F118B5A0A6D1F6D367ECF27CB09B74F463F669E5FEA2D7527BAC7EBE5F17B3D0739F78A5292EA6BFB5FB11F8D5D08"
    "56033046FC7B6BABF0CFBC209AF4361D",
    16,
)


def two_over_pi() -> str:
    """2/pi in 32-bit limbs, after 64 zero bits: a global constant."""
    limbs = [0, 0, *((TWO_OVER_PI >> (32 * j)) & 0xFFFFFFFF for j in reversed(range(40)))]
    listed = ", ".join(f"i32 {n - (1 << 32) if n >> 31 else n}" for n in limbs)
    return f"@two_over_pi = internal constant [{len(limbs)} x i32] [{listed}]"


# fmod of positive finite doubles by shifting and subtracting their 53-bit integers, as in fdlibm.
LONG_DIVISION = """define internal double @fmod.long(double %x, double %y) noinline cold nounwind {
entry:
  %xb = bitcast double %x to i64
  %yb = bitcast double %y to i64
  %xe0 = lshr i64 %xb, 52
  %ye0 = lshr i64 %yb, 52
  %xd = icmp eq i64 %xe0, 0
  %yd = icmp eq i64 %ye0, 0
  %xl = call i64 @llvm.ctlz.i64(i64 %xb, i1 false)
  %yl = call i64 @llvm.ctlz.i64(i64 %yb, i1 false)
  %xs = sub i64 %xl, 11
  %ys = sub i64 %yl, 11
  %xmd = shl i64 %xb, %xs
  %ymd = shl i64 %yb, %ys
  %xed = sub i64 1, %xs
  %yed = sub i64 1, %ys
  %xf = and i64 %xb, 4503599627370495
  %yf = and i64 %yb, 4503599627370495
  %xn = or i64 %xf, 4503599627370496
  %yn = or i64 %yf, 4503599627370496
  %xm = select i1 %xd, i64 %xmd, i64 %xn
  %ym = select i1 %yd, i64 %ymd, i64 %yn
  %xe = select i1 %xd, i64 %xed, i64 %xe0
  %ye = select i1 %yd, i64 %yed, i64 %ye0
  br label %head
head:
  %m = phi i64 [ %xm, %entry ], [ %m3, %body ]
  %e = phi i64 [ %xe, %entry ], [ %e2, %body ]
  %d = sub i64 %m, %ym
  %neg = icmp slt i64 %d, 0
  %m2 = select i1 %neg, i64 %m, i64 %d
  %more = icmp sgt i64 %e, %ye
  br i1 %more, label %body, label %done
body:
  %m3 = shl i64 %m2, 1
  %e2 = sub i64 %e, 1
  br label %head
done:
  %zero = icmp eq i64 %m2, 0
  %rl = call i64 @llvm.ctlz.i64(i64 %m2, i1 false)
  %rs = sub i64 %rl, 11
  %room = sub i64 %e, 1
  %fits = icmp sle i64 %rs, %room
  %rm = shl i64 %m2, %rs
  %re = sub i64 %e, %rs
  %rf = and i64 %rm, 4503599627370495
  %rh = shl i64 %re, 52
  %normal = or i64 %rh, %rf
  %deep = icmp slt i64 %e, 1
  %up = sub i64 1, %e
  %right = lshr i64 %m2, %up
  %left = shl i64 %m2, %room
  %denormal = select i1 %deep, i64 %right, i64 %left
  %bits = select i1 %fits, i64 %normal, i64 %denormal
  %f = bitcast i64 %bits to double
  %r = select i1 %zero, double 0.0, double %f
  ret double %r
}"""
