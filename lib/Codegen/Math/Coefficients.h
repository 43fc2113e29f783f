// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Polynomials by rising degree, written by scripts/fit_math.py. Errors are relative to the function's value.

#ifndef LATHE_LIB_CODEGEN_MATH_COEFFICIENTS_H
#define LATHE_LIB_CODEGEN_MATH_COEFFICIENTS_H

namespace lathe::approx::coefficients {

/// (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2; error 3.2e-9 = 2^-28.22.
inline constexpr double kExp32[] = {0x1.fffffc0000000p-2, 0x1.55548c0000000p-3, 0x1.55585a0000000p-5,
                                    0x1.123d5c0000000p-7, 0x1.6ab6ba0000000p-10};
/// (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2; error 9.5e-18 = 2^-56.54.
inline constexpr double kExp64[] = {0x1.000000000000ap-1,  0x1.55555555554f9p-3,  0x1.55555555507f0p-5,
                                    0x1.1111111127e88p-7,  0x1.6c16c1844b084p-10, 0x1.a01a0129b25bdp-13,
                                    0x1.a01999adc0097p-16, 0x1.71df263143556p-19, 0x1.28adce79db481p-22,
                                    0x1.ad7efa348cba5p-26};
/// (2^r - 1) / r for |r| <= 1/2; error 2.4e-8 = 2^-25.31.
inline constexpr double kExp2_32[] = {0x1.62e4300000000p-1, 0x1.ebfbe00000000p-3,  0x1.c6afdc0000000p-5,
                                      0x1.3b2dc00000000p-7, 0x1.5ebafa0000000p-10, 0x1.3e6dc00000000p-13};
/// (2^r - 1) / r for |r| <= 1/2; error 1.9e-17 = 2^-55.55.
inline constexpr double kExp2_64[] = {0x1.62e42fefa39efp-1,  0x1.ebfbdff82c58fp-3,  0x1.c6b08d704a0d1p-5,
                                      0x1.3b2ab6fba4e7bp-7,  0x1.5d87fe78a2206p-10, 0x1.430912f86ac23p-13,
                                      0x1.ffcbfc7620031p-17, 0x1.62c0224613675p-20, 0x1.b524dad504983p-24,
                                      0x1.e4cf036b19586p-28, 0x1.ea04e303cdfe4p-32, 0x1.c4b62f9c6e5bcp-36};
/// (log(1 + f) - f + f^2/2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2); error 1.4e-9 = 2^-29.44.
inline constexpr double kLog32[] = {0x1.5555480000000p-2,  -0x1.0000320000000p-2, 0x1.99a4a40000000p-3,
                                    -0x1.554a1c0000000p-3, 0x1.232bde0000000p-3,  -0x1.fe6ec40000000p-4,
                                    0x1.e9c3f80000000p-4,  -0x1.d26d1c0000000p-4, 0x1.006ab20000000p-4};
/// (2 atanh(s)/s - 2) / s^2 in s^2, for s = f / (2 + f) as above; error 6.1e-19 = 2^-60.5.
inline constexpr double kAtanh64[] = {0x1.5555555555555p-1, 0x1.9999999999e02p-2, 0x1.249249242b0b9p-2,
                                      0x1.c71c72593d4bcp-3, 0x1.745cde21990fep-3, 0x1.3b20af00c1662p-3,
                                      0x1.0f5c7aeae3af7p-3, 0x1.0f65dc6736a9cp-3};
/// (log(1 + u) - u) / u^2 for 0 <= u <= 1; error 8.9e-10 = 2^-30.06.
inline constexpr double kLog1p32[] = {-0x1.fffff80000000p-2, 0x1.5553b60000000p-2,  -0x1.ffc59e0000000p-3,
                                      0x1.978b560000000p-3,  -0x1.4a72c40000000p-3, 0x1.ff295a0000000p-4,
                                      -0x1.54f25e0000000p-4, 0x1.5901300000000p-5,  -0x1.c0a6100000000p-7,
                                      0x1.1139b40000000p-9};
/// (log(1 + u) - u) / u^2 for 0 <= u <= 1; error 1.0e-17 = 2^-56.43.
inline constexpr double kLog1p64[] = {-0x1.fffffffffffeep-2,  0x1.55555555547b1p-2,  -0x1.ffffffff87aa6p-3,
                                      0x1.9999998892248p-3,   -0x1.555553df896a3p-3, 0x1.249233ca5942ap-3,
                                      -0x1.fffe45b319cd7p-4,  0x1.c70f38e103aa8p-4,  -0x1.994c7f2e78273p-4,
                                      0x1.72fe7eeb37664p-4,   -0x1.5063c61c5946fp-4, 0x1.2cb44c1cf11b0p-4,
                                      -0x1.027ef66816bffp-4,  0x1.9cccc390d5642p-5,  -0x1.25e819986cbb7p-5,
                                      0x1.654ecd18b848fp-6,   -0x1.62281b1b0b914p-7, 0x1.0f4f8b58c34bap-8,
                                      -0x1.2ac1169bd68e9p-10, 0x1.a246966556cc8p-13, -0x1.167c86448dcdep-16};
/// (tanh(x)/x - 1) / x^2 in x^2 for |x| <= 0.551; error 1.1e-9 = 2^-29.72.
inline constexpr double kTanh32[] = {-0x1.55554a0000000p-2, 0x1.110cea0000000p-3, -0x1.b91d460000000p-5,
                                     0x1.58d7080000000p-6, -0x1.98be1c0000000p-8};
/// (tanh(x)/x - 1) / x^2 in x^2 for |x| <= 0.351; error 7.9e-19 = 2^-60.13.
inline constexpr double kTanh64[] = {-0x1.5555555555553p-2,  0x1.1111111110b49p-3,  -0x1.ba1ba1b978a19p-5,
                                     0x1.664f483c4f7f8p-6,   -0x1.226e241f56965p-7, 0x1.d6ceb3f5202cbp-9,
                                     -0x1.7d2b50c221ff8p-10, 0x1.2ea4f01ecbe42p-11, -0x1.89311a6fd962cp-13};
/// erf(x)/x - 1 in x^2 for |x| <= 0.93; error 1.7e-8 = 2^-25.79.
inline constexpr double kErf32[] = {0x1.06eba60000000p-3,  -0x1.8126e80000000p-2, 0x1.ce1a880000000p-4,
                                    -0x1.b689b60000000p-6, 0x1.4723dc0000000p-8,  -0x1.3988fe0000000p-11};
/// erf(x)/x - 1 in x^2 for |x| <= 1.0; error 1.3e-17 = 2^-56.08.
inline constexpr double kErf64[] = {0x1.06eba8214db69p-3,   -0x1.812746b0379e6p-2,  0x1.ce2f21a042b34p-4,
                                    -0x1.b82ce31284f37p-6,  0x1.565bcd0dbd8f7p-8,   -0x1.c02db3db49151p-11,
                                    0x1.f9a321e4af9d1p-14,  -0x1.f4d1e4343e42cp-17, 0x1.b9df30583f02ep-20,
                                    -0x1.5f1f40e39d16ap-23, 0x1.f7b99d0aa431cp-27,  -0x1.38ac22a9984b9p-30,
                                    0x1.06275d91058a2p-34};
/// -log(erfc(t))/t - 1 for 0.92 <= t <= 3.95; error 3.0e-9 = 2^-28.32.
inline constexpr double kLogErfc32[] = {0x1.0732880000000p-3,  0x1.457ce00000000p-1, 0x1.af27060000000p-4,
                                        -0x1.7707860000000p-6, 0x1.a564920000000p-9, -0x1.c0c4aa0000000p-13};
/// (t + 4) exp(t^2/2) Phi(-t) in q = (t - 4) / (t + 4) for 0 <= t <= 14.6; error 2.0e-8 = 2^-25.56.
inline constexpr double kMills32[] = {0x1.82b4bc0000000p-1,  -0x1.373e380000000p-1, 0x1.8c6d720000000p-2,
                                      -0x1.7e002c0000000p-3, 0x1.eee3760000000p-5,  -0x1.ecfbce0000000p-8,
                                      -0x1.cfe6fe0000000p-9, 0x1.97a6580000000p-10, 0x1.b92cb20000000p-13,
                                      -0x1.c7e1420000000p-14};
/// (t + 4) exp(t^2/2) Phi(-t) in q = (t - 4) / (t + 4) for 0 <= t <= 39.0; error 1.2e-16 = 2^-52.94.
inline constexpr double kMills64[] = {
    0x1.82b4bb8c94dcep-1,  -0x1.373e3a893c28ap-1,  0x1.8c6dbf2cfc2b5p-2,   -0x1.7dff2bff68399p-3,
    0x1.eec4cc3e4d200p-5,  -0x1.ee2761047f312p-8,  -0x1.c81719d53e70ap-9,  0x1.ab825fc0f9d63p-10,
    0x1.17a4ae29eddacp-13, -0x1.e4a4256de975ap-13, -0x1.001e484927047p-19, 0x1.26d0996f60e0ep-15,
    0x1.80b164e4fe3e8p-21, -0x1.8d4b1eba5eb98p-18, -0x1.51e40d4fc5dfap-21, 0x1.1236b9d23850ep-20,
    0x1.233bae41e8976p-22, -0x1.4cec5c7f23f5ep-23, -0x1.6c20e4e3831fdp-24, 0x1.ce498a372a852p-27,
    0x1.4a56e80570d3cp-26, 0x1.e30a5eceb4f0bp-30,  -0x1.4c1b72cd2152dp-29, -0x1.70d57dfbb8d6bp-31};
/// Phi(-t) in q = 2 t / 4.5 - 1 for 0 <= t <= 4.5, weighted by t; error 1.4e-5 = 2^-16.09.
inline constexpr double kTail16[] = {0x1.90750a0000000p-7,  -0x1.243e160000000p-4, 0x1.7291840000000p-3,
                                     -0x1.f89e700000000p-3, 0x1.3ff5240000000p-3,  0x1.301ddc0000000p-5,
                                     -0x1.06e11c0000000p-3, 0x1.97fde20000000p-5,  0x1.d881ee0000000p-6,
                                     -0x1.3833800000000p-6};
/// (sin(r)/r - 1) / r^2 in r^2 for |r| <= pi/4; error 4.9e-12 = 2^-37.56.
inline constexpr double kSin32[] = {-0x1.5555554ca94dap-3, 0x1.11110889f2f08p-7, -0x1.a00f938fd4369p-13,
                                    0x1.6cd5e99356db8p-19};
/// (cos(r) - 1 + r^2/2) / r^4 in r^2 for |r| <= pi/4; error 1.0e-13 = 2^-43.18.
inline constexpr double kCos32[] = {0x1.5555554f428e8p-5, -0x1.6c16b88bf3ff6p-10, 0x1.a011178e4d5cbp-16,
                                    -0x1.242909798b610p-22};
/// (sin(r)/r - 1) / r^2 in r^2 for |r| <= pi/4; error 7.9e-18 = 2^-56.82.
inline constexpr double kSin64[] = {-0x1.5555555555549p-3, 0x1.111111110f842p-7,   -0x1.a01a019c0a2bbp-13,
                                    0x1.71de3570ff440p-19, -0x1.ae5e60c5b0306p-26, 0x1.5d915e55e2021p-33};
/// (cos(r) - 1 + r^2/2) / r^4 in r^2 for |r| <= pi/4; error 1.2e-18 = 2^-59.53.
inline constexpr double kCos64[] = {0x1.555555555554cp-5,   -0x1.6c16c16c15140p-10, 0x1.a01a019cab747p-16,
                                    -0x1.27e4f805332c7p-22, 0x1.1ee9e88ff143ep-29,  -0x1.8facd0c899352p-37};
/// (atan(x)/x - 1) / x^2 in x^2 for |x| <= tan(pi/8); error 2.9e-18 = 2^-58.24.
inline constexpr double kAtan64[] = {-0x1.5555555555554p-2, 0x1.999999999964ap-3,  -0x1.2492492475555p-3,
                                     0x1.c71c71b73a442p-4,  -0x1.745d14b6fac2fp-4, 0x1.3b136de6d080ep-4,
                                     -0x1.110c6e4975b11p-4, 0x1.e171a061c4299p-5,  -0x1.ab7af0b438010p-5,
                                     0x1.70e24f3be05b7p-5,  -0x1.121d0dcc8e80ap-5, 0x1.f1781ad40d8f2p-7};
/// (asin(x)/x - 1) / x^2 in x^2 for |x| <= 1/2; error 1.7e-18 = 2^-59.05.
inline constexpr double kAsin64[] = {0x1.5555555555578p-3, 0x1.333333332df7ep-4, 0x1.6db6db722606ap-5,
                                     0x1.f1c71a8dc61a7p-6, 0x1.6e8bdfa60d029p-6, 0x1.1c49e2c32002ap-6,
                                     0x1.ca20cd4818b8fp-7, 0x1.757b80c790e8fp-7, 0x1.6173cc4a7074bp-7,
                                     0x1.e2c0f719a466cp-9, 0x1.6491ee57e28fep-6, -0x1.59536d0c3fc5ep-6,
                                     0x1.0bb00b73193fbp-5};
/// (sinh(x)/x - 1) / x^2 in x^2 for |x| <= 1; error 9.6e-18 = 2^-56.53.
inline constexpr double kSinh64[] = {0x1.5555555555555p-3,  0x1.1111111111111p-7,  0x1.a01a01a019fbdp-13,
                                     0x1.71de3a557431ep-19, 0x1.ae645673db8c9p-26, 0x1.61246b20c6e5cp-33,
                                     0x1.ae75567bd8aa6p-41, 0x1.9a7f5a7c0ab2ap-49};

} // namespace lathe::approx::coefficients

#endif // LATHE_LIB_CODEGEN_MATH_COEFFICIENTS_H
