/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* See Fiber.h. */
        .text
        .globl lathe_emu_switch
        .hidden lathe_emu_switch
        .type lathe_emu_switch, @function
lathe_emu_switch:
        pushq %rbp
        pushq %rbx
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, (%rdi)
        movq %rsi, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbx
        popq %rbp
        ret
        .size lathe_emu_switch, . - lathe_emu_switch

        .globl lathe_emu_call
        .hidden lathe_emu_call
        .type lathe_emu_call, @function
lathe_emu_call:
        pushq %rbp
        movq %rsp, %rbp
        movq %rdi, %r11
        movq %rsi, %r10
        movq %rdx, %rax
        subq $6, %rax
        jle 2f
        /* Those behind the sixth go to the stack, the last one highest. */
        leaq 15(,%rax,8), %rcx
        andq $-16, %rcx
        subq %rcx, %rsp
1:      movq 40(%r10,%rax,8), %rcx
        movq %rcx, -8(%rsp,%rax,8)
        decq %rax
        jnz 1b
2:      movq (%r10), %rdi
        movq 8(%r10), %rsi
        movq 16(%r10), %rdx
        movq 24(%r10), %rcx
        movq 32(%r10), %r8
        movq 40(%r10), %r9
        xorl %eax, %eax
        callq *%r11
        leave
        ret
        .size lathe_emu_call, . - lathe_emu_call

        .section .note.GNU-stack, "", @progbits
