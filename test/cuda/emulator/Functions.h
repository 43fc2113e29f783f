/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* What the code of an "emulator" image calls. Good for C and C++; test images are written in C. */
#ifndef LATHE_TEST_CUDA_FUNCTIONS_H
#define LATHE_TEST_CUDA_FUNCTIONS_H

#include <stdint.h>

#define LATHE_EMU __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

LATHE_EMU int32_t lathe_emu_thread_x(void);
LATHE_EMU int32_t lathe_emu_block_x(void);
LATHE_EMU int32_t lathe_emu_grid_x(void);
LATHE_EMU int32_t lathe_emu_block_size_x(void);

/* The block's shared memory, poison when the block begins. */
LATHE_EMU void *lathe_emu_shared(void);
/* bar.sync 0: for all threads of the block. */
LATHE_EMU void lathe_emu_barrier(void);

enum lathe_emu_shuffle_kind {
  LATHE_EMU_SHUFFLE_IDX = 0,
  LATHE_EMU_SHUFFLE_UP = 1,
  LATHE_EMU_SHUFFLE_DOWN = 2,
  LATHE_EMU_SHUFFLE_BFLY = 3
};
/* shfl.sync; b and c as PTX has them. */
LATHE_EMU uint32_t lathe_emu_shuffle(int32_t kind, uint32_t mask, uint32_t value, uint32_t b, uint32_t c);

/* ex2.approx.ftz, and cvt.rn of two floats to f16x2 and bf16x2. */
LATHE_EMU float lathe_emu_exp2(float x);
LATHE_EMU uint32_t lathe_emu_pack_f16(float high, float low);
LATHE_EMU uint32_t lathe_emu_pack_bf16(float high, float low);

/* dp4a of signed bytes, and of unsigned ones. */
LATHE_EMU uint32_t lathe_emu_dot_s8(uint32_t a, uint32_t b, uint32_t sum);
LATHE_EMU uint32_t lathe_emu_dot_u8(uint32_t a, uint32_t b, uint32_t sum);

/* cp.async: what was copied is poison until it is waited for. */
LATHE_EMU void lathe_emu_cp_async_ca_shared_global_4(void *to, const void *from);
LATHE_EMU void lathe_emu_cp_async_ca_shared_global_8(void *to, const void *from);
LATHE_EMU void lathe_emu_cp_async_ca_shared_global_16(void *to, const void *from);
LATHE_EMU void lathe_emu_cp_async_cg_shared_global_16(void *to, const void *from);
LATHE_EMU void lathe_emu_cp_async_ca_shared_global_4_s(void *to, const void *from, int32_t bytes);
LATHE_EMU void lathe_emu_cp_async_ca_shared_global_8_s(void *to, const void *from, int32_t bytes);
LATHE_EMU void lathe_emu_cp_async_ca_shared_global_16_s(void *to, const void *from, int32_t bytes);
LATHE_EMU void lathe_emu_cp_async_cg_shared_global_16_s(void *to, const void *from, int32_t bytes);
LATHE_EMU void lathe_emu_cp_async_commit_group(void);
LATHE_EMU void lathe_emu_cp_async_wait_group(int32_t left);
LATHE_EMU void lathe_emu_cp_async_wait_all(void);

/* ldmatrix: 8x8 matrices of 16-bit elements; the operand is the address of a row. */
LATHE_EMU uint32_t lathe_emu_ldmatrix_sync_aligned_m8n8_x1_b16_p3(const void *row);
LATHE_EMU uint32_t lathe_emu_ldmatrix_sync_aligned_m8n8_x1_trans_b16_p3(const void *row);
LATHE_EMU void lathe_emu_ldmatrix_sync_aligned_m8n8_x2_b16_p3(void *result, const void *operands);
LATHE_EMU void lathe_emu_ldmatrix_sync_aligned_m8n8_x2_trans_b16_p3(void *result, const void *operands);
LATHE_EMU void lathe_emu_ldmatrix_sync_aligned_m8n8_x4_b16_p3(void *result, const void *operands);
LATHE_EMU void lathe_emu_ldmatrix_sync_aligned_m8n8_x4_trans_b16_p3(void *result, const void *operands);

/* mma.sync: operands are the registers of A, B and C, results those of D. */
LATHE_EMU void lathe_emu_mma_m16n8k16_row_col_f32_f32(void *result, const void *operands);
LATHE_EMU void lathe_emu_mma_m16n8k16_row_col_bf16(void *result, const void *operands);
LATHE_EMU void lathe_emu_mma_m16n8k8_row_col_tf32(void *result, const void *operands);
LATHE_EMU void lathe_emu_mma_m16n8k32_row_col_s8(void *result, const void *operands);
LATHE_EMU void lathe_emu_mma_m16n8k32_row_col_u8(void *result, const void *operands);
LATHE_EMU void lathe_emu_mma_m16n8k32_row_col_u8_s8(void *result, const void *operands);
LATHE_EMU void lathe_emu_mma_m16n8k32_row_col_s8_u8(void *result, const void *operands);
LATHE_EMU void lathe_emu_mma_m16n8k32_row_col_satfinite_s8(void *result, const void *operands);

#ifdef __cplusplus
}
#endif
#endif
