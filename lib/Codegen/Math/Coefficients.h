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
/// (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2; error 1.9e-17 = 2^-55.57.
inline constexpr double kExp64[] = {0x1.000000000000ap-1,  0x1.5555555555500p-3,  0x1.55555555505f4p-5,
                                    0x1.1111111125a4cp-7,  0x1.6c16c184bbe9ap-10, 0x1.a01a0138ca5f6p-13,
                                    0x1.a019987c8ffe5p-16, 0x1.71def0b787bb8p-19, 0x1.28af0ef3e51a2p-22,
                                    0x1.ae0750fea5084p-26};
/// (2^r - 1) / r for |r| <= 1/2; error 2.4e-8 = 2^-25.31.
inline constexpr double kExp2_32[] = {0x1.62e4300000000p-1, 0x1.ebfbe00000000p-3,  0x1.c6afdc0000000p-5,
                                      0x1.3b2dc00000000p-7, 0x1.5ebafa0000000p-10, 0x1.3e6dc00000000p-13};
/// (2^r - 1) / r for |r| <= 1/2; error 7.1e-17 = 2^-53.64.
inline constexpr double kExp2_64[] = {0x1.62e42fefa39efp-1,  0x1.ebfbdff82c58ep-3,  0x1.c6b08d704a1ccp-5,
                                      0x1.3b2ab6fba5291p-7,  0x1.5d87fe787703bp-10, 0x1.430912f6a4ff8p-13,
                                      0x1.ffcbfd095e644p-17, 0x1.62c0335de4324p-20, 0x1.b523f5ea2f9b2p-24,
                                      0x1.e463ae5249be7p-28, 0x1.eb3b228cec0f2p-32, 0x1.47097f94e05c4p-35};
/// (log(1 + f) - f + f^2/2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2); error 1.4e-9 = 2^-29.44.
inline constexpr double kLog32[] = {0x1.5555480000000p-2,  -0x1.0000320000000p-2, 0x1.99a4a40000000p-3,
                                    -0x1.554a1c0000000p-3, 0x1.232bde0000000p-3,  -0x1.fe6ec40000000p-4,
                                    0x1.e9c3f80000000p-4,  -0x1.d26d1c0000000p-4, 0x1.006ab20000000p-4};
/// (2 atanh(s)/s - 2) / s^2 in s^2, for s = f / (2 + f) as above; error 1.8e-20 = 2^-65.58.
inline constexpr double kAtanh64[] = {0x1.5555555555555p-1, 0x1.9999999999d12p-2, 0x1.2492492439609p-2,
                                      0x1.c71c724b92af1p-3, 0x1.745ce1b9b459ap-3, 0x1.3b20273af6285p-3,
                                      0x1.0f67045b2bc56p-3, 0x1.0f1026bd08075p-3};
/// (2 atanh(s)/s - 2) / s^2 in s^2 for s <= 1/3; error 5.3e-11 = 2^-34.15.
inline constexpr double kLog1p32[] = {0x1.5555560000000p-1, 0x1.9998fe0000000p-2, 0x1.24a8a40000000p-2,
                                      0x1.c486360000000p-3, 0x1.81468c0000000p-3, 0x1.576f680000000p-3};
/// (2 atanh(s)/s - 2) / s^2 in s^2 for s <= 1/3; error 1.4e-20 = 2^-65.91.
inline constexpr double kLog1p64[] = {0x1.5555555555555p-1,  0x1.9999999999bbap-2,  0x1.249249246c452p-2,
                                      0x1.c71c71f20bcb3p-3,  0x1.745d08e5db793p-3,  0x1.3b16cea3db39ap-3,
                                      0x1.109b34177b7b7p-3,  0x1.fa695fd627ab8p-4,  -0x1.2576b7135d950p-7,
                                      0x1.a973d513aacaap+0,  -0x1.e7a9608fb9930p+3, 0x1.a19889fcba1bfp+6,
                                      -0x1.d543123999714p+8, 0x1.39a55f40f42c4p+10, -0x1.7910b4fa8ab6cp+10};
/// erf(x)/x - 1 in x^2 for |x| <= 0.93; error 1.7e-8 = 2^-25.79.
inline constexpr double kErf32[] = {0x1.06eba60000000p-3,  -0x1.8126e80000000p-2, 0x1.ce1a880000000p-4,
                                    -0x1.b689b60000000p-6, 0x1.4723dc0000000p-8,  -0x1.3988fe0000000p-11};
/// erf(x)/x - 1 in x^2 for |x| <= 1.0; error 1.2e-17 = 2^-56.16.
inline constexpr double kErf64[] = {0x1.06eba8214db69p-3,   -0x1.812746b037a27p-2,  0x1.ce2f21a045b90p-4,
                                    -0x1.b82ce31366603p-6,  0x1.565bcd2fabe05p-8,   -0x1.c02db9e22ae9cp-11,
                                    0x1.f9a3cfa0029d9p-14,  -0x1.f4dec4ec0f3a1p-17, 0x1.ba8234fac2e9ap-20,
                                    -0x1.64724e84cfc53p-23, 0x1.18188662f8d42p-26,  -0x1.e4aea7caa61bep-30,
                                    0x1.6853df8fd134ap-33};
/// -log(erfc(t))/t - 1 for 0.92 <= t <= 3.95; error 3.0e-9 = 2^-28.32.
inline constexpr double kLogErfc32[] = {0x1.0732880000000p-3,  0x1.457ce00000000p-1, 0x1.af27060000000p-4,
                                        -0x1.7707860000000p-6, 0x1.a564920000000p-9, -0x1.c0c4aa0000000p-13};
/// (t + 4) exp(t^2/2) Phi(-t) in q = (t - 4) / (t + 4) for 0 <= t <= 14.6; error 2.0e-8 = 2^-25.56.
inline constexpr double kMills32[] = {0x1.82b4bc0000000p-1,  -0x1.373e380000000p-1, 0x1.8c6d720000000p-2,
                                      -0x1.7e002c0000000p-3, 0x1.eee3760000000p-5,  -0x1.ecfbce0000000p-8,
                                      -0x1.cfe6fe0000000p-9, 0x1.97a6580000000p-10, 0x1.b92cb20000000p-13,
                                      -0x1.c7e1420000000p-14};
/// (t + 4) exp(t^2/2) Phi(-t) in q = (t - 4) / (t + 4) for 0 <= t <= 39.0; error 0.00016 = 2^-12.58.
inline constexpr double kMills64[] = {
    0x1.82b4bb8c94dcep-1,   -0x1.373e3a893c28ap-1,  0x1.8c6dbf2cfc22cp-2,   -0x1.7dff2bff68359p-3,
    0x1.eec4cc3e5b7eap-5,   -0x1.ee2761049f105p-8,  -0x1.c81719e81107ap-9,  0x1.ab825fcae1080p-10,
    0x1.17a4ba7b46a9fp-13,  -0x1.e4a4285fa7940p-13, -0x1.00315150a1b66p-19, 0x1.26d0d4c509cc6p-15,
    0x1.81774b4112240p-21,  -0x1.8c08d67aa97f7p-18, 0x1.741891d181467p-19,  0x1.05da4456b6994p-17,
    -0x1.c6148d4f1ef65p-14, -0x1.df1ed9b5a7f8ep-12, -0x1.ad7e53876fea6p-10, -0x1.41f6277ae489dp-10,
    0x1.0af5074b0c6c5p-6,   0x1.a76772ecc38eap-6,   -0x1.68cf3e74d2590p-6,  -0x1.05d4f5438602ep-5};
/// (sin(r)/r - 1) / r^2 in r^2 for |r| <= pi/4; error 4.9e-12 = 2^-37.56.
inline constexpr double kSin32[] = {-0x1.5555554ca94dap-3, 0x1.1111088a03a3ap-7, -0x1.a00f939e39128p-13,
                                    0x1.6cd5ec7c447c0p-19};
/// (cos(r) - 1 + r^2/2) / r^4 in r^2 for |r| <= pi/4; error 1.0e-13 = 2^-43.18.
inline constexpr double kCos32[] = {0x1.5555554f428e8p-5, -0x1.6c16b88bf24d0p-10, 0x1.a0111788bd206p-16,
                                    -0x1.2429075822441p-22};
/// (sin(r)/r - 1) / r^2 in r^2 for |r| <= pi/4; error 3.5e-18 = 2^-57.98.
inline constexpr double kSin64[] = {-0x1.5555555555549p-3, 0x1.111111110f892p-7,   -0x1.a01a019c121a9p-13,
                                    0x1.71de3576bc544p-19, -0x1.ae5e64a71d989p-26, 0x1.5d925d1be37b3p-33};
/// (cos(r) - 1 + r^2/2) / r^4 in r^2 for |r| <= pi/4; error 4.9e-20 = 2^-64.15.
inline constexpr double kCos64[] = {0x1.555555555554cp-5,   -0x1.6c16c16c15210p-10, 0x1.a01a019cbcd92p-16,
                                    -0x1.27e4f81045758p-22, 0x1.1ee9ef527b859p-29,  -0x1.8fb0014926608p-37};

} // namespace lathe::approx::coefficients

#endif // LATHE_LIB_CODEGEN_MATH_COEFFICIENTS_H
