/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The table of a model that adds its weights to its input: y[B, 4] = x[B, 4] + w[4]. WEIGHT_BYTES and MODEL_ID come
 * from the command line. With CUDA it runs on a device, and nowhere else. */
        .section .rodata.table, "a", @progbits
        .p2align 3
        .globl MODEL_NAME
MODEL_NAME:
table:
        .ascii "LATHETBL"
        .short 1, 5
        .long 144
        .quad MODEL_ID
        .quad WEIGHT_BYTES
        .long graph - table
        .long 1, 1, 1, 1, 1, 2, 1
        .long inputs - table, outputs - table, symbols - table, kernels - table, variants - table, metadata - table
        .long 0, 0, 0, 0, 0, 0, 0
        .long 2, images - table, device_kernels - table, 0, 0, 0, 0
symbols:
        .long symbol_b - table, 0
        .quad 0, 1000
dims:
        .quad -1, 4
variants:
        .ascii "x86-64-v9\0\0\0\0\0\0\0"
        .quad 1 << 62
        .long tiny_layout - table, tiny_run - table
#if defined(CUDA)
        .ascii "cuda\0\0\0\0\0\0\0\0\0\0\0\0"
#else
        .ascii "any\0\0\0\0\0\0\0\0\0\0\0\0\0"
#endif
        .quad 0
        .long tiny_layout - table, tiny_run - table
inputs:
        .long name_x - table, 1, 2, dims - table
outputs:
        .long name_y - table, 1, 2, dims - table
kernels:
        .long kernel_add - table, node_add - table, tiny_cost - table, 0
metadata:
        .long key - table, value - table
images:
        .ascii "compute_80\0\0\0\0\0\0"
        .long ptx - table, ptx_end - ptx
        .ascii "sm_90a\0\0\0\0\0\0\0\0\0\0"
        .long cubin - table, 64
device_kernels:
        .long kernel_add - table, 128, 0, 16, 4
        .p2align 3
ptx:    .asciz ".version 8.0"
ptx_end:
        .p2align 3
cubin:  .ascii "\177ELF\2\1\1"
        .zero 57
graph:  .asciz "tiny"
symbol_b: .asciz "B"
name_x: .asciz "x"
name_y: .asciz "y"
kernel_add: .asciz "add"
node_add: .asciz "/layer/Add"
key:    .asciz "author"
value:  .asciz "a test"

        .section .note.lathe, "a", @note
        .p2align 2
        .long 6, 1088, 1
        .asciz "Lathe"
        .p2align 2
        .zero 1088

        .section .lathe.sums, "a", @progbits
        .p2align 2
        .zero 4 * ((WEIGHT_BYTES + 4194303) / 4194304)

        .section .lathe.weights, "awl", @nobits
        .p2align 12
        .zero WEIGHT_BYTES

        .section .note.GNU-stack, "", @progbits
