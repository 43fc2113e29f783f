// RUN: lathe-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(check-cpu-kernels{target=x86-64-v3 strict}))'

// Functions that are no kernels may do what they like.
func.func @host(%n: index) -> memref<?xf32> {
  %0 = memref.alloc(%n) : memref<?xf32>
  return %0 : memref<?xf32>
}

// -----

func.func @heap(%n: index) attributes {kernel.root = "rows"} {
  // expected-error @+1 {{a kernel has no heap to allocate from}}
  %0 = memref.alloc(%n) : memref<?xf32>
  return
}

// -----

func.func @alloca_in_loop(%n: index) attributes {kernel.root = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    // expected-error @+1 {{a stack allocation in a loop grows the stack with every iteration}}
    %0 = memref.alloca() : memref<8xf32>
  }
  return
}

// -----

func.func @alloca_on_top(%n: index) attributes {kernel.root = "rows"} {
  %0 = memref.alloca() : memref<8xf32>
  return
}

// -----

func.func @copy(%from: memref<8xf32>, %to: memref<8xf32>) attributes {kernel.root = "rows"} {
  // expected-error @+1 {{a kernel copies a whole buffer}}
  memref.copy %from, %to : memref<8xf32> to memref<8xf32>
  return
}

// -----

func.func @odd_lanes(%x: memref<48xf32>, %i: index) attributes {kernel.root = "rows"} {
  // expected-error @+1 {{'vector<12xf32>' does not fit the 256-bit registers of x86-64-v3}}
  %0 = vector.load %x[%i] : memref<48xf32>, vector<12xf32>
  return
}

// -----

func.func @native_lanes(%x: memref<48xf32>, %i: index) attributes {kernel.root = "rows"} {
  %0 = vector.load %x[%i] : memref<48xf32>, vector<8xf32>
  return
}
