// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s
// RUN: lathe-opt %s --split-input-file --verify-diagnostics --canonicalize | FileCheck %s --check-prefix=FOLD

// CHECK-LABEL: func @sizes_from_data
// CHECK:         %[[N:.*]] = nn.read_index %{{.*}}[1] : tensor<2xi64>
// CHECK:         %[[S:.*]] = nn.checked_size %[[N]]
// CHECK:         %[[COUNT:.*]] = nn.element_count %[[S]], %{{.*}}
// CHECK:         nn.check %{{.*}}
// FOLD-LABEL:  func @sizes_from_data
// FOLD:          nn.check
func.func @sizes_from_data(%shape: tensor<2xi64>, %m: index) -> index {
  %n = nn.read_index %shape[1] : tensor<2xi64>
  %s = nn.checked_size %n
  %count = nn.element_count %s, %m
  %fits = arith.cmpi eq, %count, %m : index
  nn.check %fits
  return %count : index
}

// FOLD-LABEL: func @constants_are_known
// FOLD-DAG:     %[[A:.*]] = arith.constant -3 : index
// FOLD-DAG:     %[[B:.*]] = arith.constant 200 : index
// FOLD-DAG:     %[[C:.*]] = arith.constant 4611686018427387904 : index
// FOLD-NOT:     nn.check
// FOLD:         return %[[A]], %[[B]], %[[C]]
func.func @constants_are_known() -> (index, index, index) {
  %signed = arith.constant dense<[1, -3]> : tensor<2xi8>
  %unsigned = arith.constant dense<200> : tensor<ui8>
  %huge = arith.constant 281474976710655 : index
  %a = nn.read_index %signed[1] : tensor<2xi8>
  %b = nn.read_index %unsigned[0] : tensor<ui8>
  %c = nn.element_count %huge, %huge
  %true = arith.constant true
  nn.check %true
  return %a, %b, %c : index, index, index
}

// What is no size stays, for the run to refuse.
// FOLD-LABEL: func @bad_size_stays
// FOLD:         nn.checked_size
func.func @bad_size_stays() -> index {
  %minus = arith.constant -1 : index
  %s = nn.checked_size %minus
  return %s : index
}

// FOLD-LABEL: func @scalars_come_back
// FOLD-SAME:    %[[A:.*]]: index, %[[B:.*]]: index
// FOLD:         return %[[B]]
func.func @scalars_come_back(%a: index, %b: index) -> index {
  %t = nn.from_scalars %a, %b : tensor<2xi64>
  %n = nn.read_index %t[1] : tensor<2xi64>
  return %n : index
}

// A narrow element may have lost what does not fit.
// FOLD-LABEL: func @narrow_scalars_stay
// FOLD:         nn.read_index
func.func @narrow_scalars_stay(%a: index) -> index {
  %t = nn.from_scalars %a : tensor<1xi32>
  %n = nn.read_index %t[0] : tensor<1xi32>
  return %n : index
}

// -----

func.func @position_beyond_the_end(%x: tensor<2xi64>) {
  // expected-error@+1 {{expects a position below the number of elements of x, 2, but it is 2}}
  %n = nn.read_index %x[2] : tensor<2xi64>
  return
}

// -----

func.func @floats_are_no_sizes(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects x to have integer or bool elements, but it is 'tensor<2xf32>'}}
  %n = nn.read_index %x[0] : tensor<2xf32>
  return
}
