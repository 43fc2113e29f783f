#!/usr/bin/env python3
# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Fits the polynomials of lib/Codegen/Math/Coefficients.h (needs mpmath): scripts/fit_math.py > Coefficients.h

Each one minimizes the largest weighted error (Remez). For f32 the coefficients are rounded one after the other, lowest
degree first, and the rest fitted again around them.
"""
import struct
import sys

from mpmath import mp, mpf, matrix, lu_solve, log, exp, sqrt, erf, erfc, sin, cos, tan, tanh, sinh, asin, atan, pi, \
    cos as mcos

mp.dps = 60


def round_to(value, bits):
    if bits == 32:
        return mpf(struct.unpack("f", struct.pack("f", float(value)))[0])
    return mpf(float(value))


def remez(f, w, a, b, degree, fixed, iterations=12):
    """Coefficients of the polynomial sum c_i x^i whose first len(fixed) coefficients are given; and the error."""
    first = len(fixed)
    n = degree + 1 - first
    a, b = mpf(a), mpf(b)
    if n == 0:
        xs = [a + (b - a) * i / 400 for i in range(401)]
        return list(fixed), max(abs(w(x) * (sum(c * x**i for i, c in enumerate(fixed)) - f(x))) for x in xs)
    nodes = [(a + b) / 2 - (b - a) / 2 * mcos(pi * (2 * i + 1) / (2 * (n + 1))) for i in range(n + 1)]
    best = None
    grid = 60 * (n + 1)
    xs = [a + (b - a) * (1 - mcos(pi * mpf(i) / grid)) / 2 for i in range(grid + 1)]
    samples = [(x, f(x) - sum(c * x**i for i, c in enumerate(fixed)), w(x)) for x in xs]
    for _ in range(iterations):
        A = matrix(n + 1, n + 1)
        y = matrix(n + 1, 1)
        for r, x in enumerate(nodes):
            weight = w(x)
            for c in range(n):
                A[r, c] = weight * x ** (first + c)
            A[r, n] = (-1) ** r
            y[r] = weight * (f(x) - sum(c * x**i for i, c in enumerate(fixed)))
        solution = lu_solve(A, y)
        coeffs = [solution[i] for i in range(n)]

        def error(s):
            x, target, weight = s
            acc = mpf(0)
            for c in reversed(coeffs):
                acc = acc * x + c
            return weight * (acc * x**first - target)

        errors = [error(s) for s in samples]
        worst = max(abs(e) for e in errors)
        if best is None or worst < best[1]:
            best = (list(fixed) + coeffs, worst)
        # The extremum of each run of equal signs.
        runs = []
        for s, e in zip(samples, errors):
            if e == 0:
                continue
            if runs and (runs[-1][1] > 0) == (e > 0):
                if abs(e) > abs(runs[-1][1]):
                    runs[-1] = (s[0], e)
            else:
                runs.append((s[0], e))
        while len(runs) > n + 1:
            runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
        if len(runs) < n + 1:
            break
        nodes = [r[0] for r in runs]
        if worst < abs(solution[n]) * mpf("1.001"):
            break
    return best


def fit(name, f, w, a, b, degree, bits, doc):
    if bits == 64:
        # Rounding costs next to nothing.
        fixed = [round_to(c, bits) for c in remez(f, w, a, b, degree, [])[0]]
    else:
        fixed = []
        for i in range(degree + 1):
            fixed.append(round_to(remez(f, w, a, b, degree, fixed)[0][i], bits))
    coeffs, error = remez(f, w, a, b, degree, fixed)
    literals = ", ".join(float(c).hex() for c in coeffs)
    print(f"/// {doc}; error {mp.nstr(error, 2)} = 2^{mp.nstr(log(error, 2), 4)}.")
    print(f"inline constexpr double {name}[] = {{{literals}}};")
    sys.stdout.flush()


eps = mpf(10) ** -25


def off(f):
    """f, away from a removable singularity at 0."""
    return lambda x: f(x if abs(x) > eps else eps)


def main():
    print("// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.")
    print("// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception\n")
    print("/// \\file\n/// Polynomials by rising degree, written by scripts/fit_math.py. Errors are relative to the function's value.\n")
    print("#ifndef LATHE_LIB_CODEGEN_MATH_COEFFICIENTS_H\n#define LATHE_LIB_CODEGEN_MATH_COEFFICIENTS_H\n")
    print("namespace lathe::approx::coefficients {\n")
    h = log(2) / 2 * mpf("1.001")
    e = off(lambda r: (exp(r) - 1 - r) / r**2)
    for bits, degree in ((32, 4), (64, 9)):
        fit(f"kExp{bits}", e, lambda r: r * r / exp(r), -h, h, degree, bits, "(exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2")
    e2 = off(lambda r: (exp(r * log(2)) - 1) / r)
    for bits, degree in ((32, 5), (64, 11)):
        fit(f"kExp2_{bits}", e2, lambda r: r / exp(r * log(2)), -mpf("0.5005"), mpf("0.5005"), degree, bits,
            "(2^r - 1) / r for |r| <= 1/2")
    l = lambda f: (log(1 + f) - f + f * f / 2) / f**3 if abs(f) > mpf(10)**-15 else mpf(1) / 3 - f / 4
    fit("kLog32", l, lambda f: f**3 / log(1 + f) if abs(f) > mpf(10)**-15 else f * f, sqrt(mpf(1) / 2) - 1,
        sqrt(mpf(2)) - 1, 8, 32, "(log(1 + f) - f + f^2/2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2)")
    at = lambda z: (log((1 + sqrt(z)) / (1 - sqrt(z))) / sqrt(z) - 2) / z if z > mpf(10)**-20 else mpf(2) / 3
    fit("kAtanh64", at, lambda z: z, mpf(0), mpf("0.02945"), 7, 64,
        "(2 atanh(s)/s - 2) / s^2 in s^2, for s = f / (2 + f) as above")
    lp = lambda u: (log(1 + u) - u) / u**2 if u > mpf(10)**-20 else -mpf(1) / 2 + u / 3
    for bits, degree in ((32, 9), (64, 20)):
        fit(f"kLog1p{bits}", lp, lambda u: u * u / log(1 + u) if u > 0 else mpf(0), mpf(0), mpf(1), degree, bits,
            "(log(1 + u) - u) / u^2 for 0 <= u <= 1")
    th = lambda z: (tanh(sqrt(z)) / sqrt(z) - 1) / z if z > mpf(10)**-20 else -mpf(1) / 3
    for bits, degree, bound in ((32, 4, mpf("0.551")), (64, 8, mpf("0.351"))):
        fit(f"kTanh{bits}", th, lambda z: z, mpf(0), bound**2, degree, bits,
            f"(tanh(x)/x - 1) / x^2 in x^2 for |x| <= {float(bound)}")
    er = lambda z: erf(sqrt(z)) / sqrt(z) - 1 if z > mpf(10)**-20 else 2 / sqrt(pi) - 1
    for bits, degree, bound in ((32, 5, mpf("0.93")), (64, 12, mpf("1.0"))):
        fit(f"kErf{bits}", er, lambda z: 1, mpf(0), bound**2, degree, bits,
            f"erf(x)/x - 1 in x^2 for |x| <= {float(bound)}")
    fit("kLogErfc32", lambda t: -log(erfc(t)) / t - 1, lambda t: erfc(t) * t / erf(t), mpf("0.92"), mpf("3.95"), 5, 32,
        "-log(erfc(t))/t - 1 for 0.92 <= t <= 3.95")
    for bits, degree, K, top in ((32, 9, mpf(4), mpf("14.6")), (64, 23, mpf(4), mpf("39"))):
        def mills(q, K=K):
            t = K * (1 + q) / (1 - q)
            return (t + K) * exp(t * t / 2) * erfc(t / sqrt(mpf(2))) / 2
        fit(f"kMills{bits}", mills, lambda q, m=mills: 1 / m(q), mpf(-1), (top - K) / (top + K), degree, bits,
            f"(t + {int(K)}) exp(t^2/2) Phi(-t) in q = (t - {int(K)}) / (t + {int(K)}) for 0 <= t <= {float(top)}")
    top = mpf("4.5")
    fit("kTail16", lambda q: erfc(top * (q + 1) / 2 / sqrt(mpf(2))) / 2, lambda q: top * (q + 1) / 2, mpf(-1), mpf(1), 9, 32,
        "Phi(-t) in q = 2 t / 4.5 - 1 for 0 <= t <= 4.5, weighted by t")
    s = lambda z: (sin(sqrt(z)) / sqrt(z) - 1) / z if z > mpf(10)**-20 else -mpf(1) / 6
    c = lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2 if z > mpf(10)**-18 else mpf(1) / 24
    z = (pi / 4 * mpf("1.001"))**2
    for bits, degree in ((32, 3), (64, 5)):
        fit(f"kSin{bits}", s, lambda x: x, mpf(0), z, degree, 64, "(sin(r)/r - 1) / r^2 in r^2 for |r| <= pi/4")
        fit(f"kCos{bits}", c, lambda x: x * x, mpf(0), z, degree, 64, "(cos(r) - 1 + r^2/2) / r^4 in r^2 for |r| <= pi/4")
    at = lambda z: (atan(sqrt(z)) / sqrt(z) - 1) / z if z > mpf(10)**-20 else -mpf(1) / 3
    fit("kAtan64", at, lambda z: z, mpf(0), (tan(pi / 8) * mpf("1.001"))**2, 11, 64,
        "(atan(x)/x - 1) / x^2 in x^2 for |x| <= tan(pi/8)")
    si = lambda z: (asin(sqrt(z)) / sqrt(z) - 1) / z if z > mpf(10)**-20 else mpf(1) / 6
    fit("kAsin64", si, lambda z: z, mpf(0), mpf("0.25"), 12, 64, "(asin(x)/x - 1) / x^2 in x^2 for |x| <= 1/2")
    sh = lambda z: (sinh(sqrt(z)) / sqrt(z) - 1) / z if z > mpf(10)**-20 else mpf(1) / 6
    fit("kSinh64", sh, lambda z: z, mpf(0), mpf(1), 7, 64, "(sinh(x)/x - 1) / x^2 in x^2 for |x| <= 1")
    print("\n} // namespace lathe::approx::coefficients\n")
    print("#endif // LATHE_LIB_CODEGEN_MATH_COEFFICIENTS_H")


if __name__ == "__main__":
    main()
