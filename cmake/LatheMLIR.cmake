# LLVM, MLIR and lld, and the functions that declare our dialects and libraries.

set(MLIR_LINK_MLIR_DYLIB ON)
# Not `MLIR 22`: the package's version file refuses it.
find_package(MLIR REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/mlir)
if(LLVM_PACKAGE_VERSION VERSION_LESS 22 OR LLVM_PACKAGE_VERSION VERSION_GREATER_EQUAL 23)
  message(FATAL_ERROR "Lathe needs LLVM and MLIR 22, found ${LLVM_PACKAGE_VERSION}")
endif()
find_package(LLD REQUIRED CONFIG HINTS "${LLVM_DIR}/../lld")

list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
set(LLVM_LINK_LLVM_DYLIB ON)
include(TableGen)
include(AddLLVM)
include(AddMLIR)

include_directories(SYSTEM ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS} ${LLD_INCLUDE_DIRS})
include_directories(${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/include)
separate_arguments(LLVM_DEFS UNIX_COMMAND "${LLVM_DEFINITIONS}")
add_definitions(${LLVM_DEFS})
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions>)

# Collects every library of the compiler, for the tools to link.
set_property(GLOBAL PROPERTY LATHE_LIBS)
# Collects the tools that lit tests run.
set_property(GLOBAL PROPERTY LATHE_TOOLS)
# Collects every TableGen target: a library may include any generated header.
add_custom_target(lathe-headers)

# lathe_tablegen(<file.td> <output> <mlir-tblgen options...> ...): one generated file of the current directory's target.
function(lathe_tablegen target td)
  set(LLVM_TARGET_DEFINITIONS ${td})
  set(rest ${ARGN})
  while(rest)
    list(POP_FRONT rest out options)
    separate_arguments(options)
    mlir_tablegen(${out} ${options})
  endwhile()
  add_public_tablegen_target(${target})
  add_dependencies(lathe-headers ${target})
endfunction()

# lathe_add_library(<name> <sources...> [LINK libs...]): a static library of the compiler with the shared precompiled
# header. MLIR and LLVM come from their shared libraries, once.
function(lathe_add_library name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  add_dependencies(${name} lathe-headers)
  mlir_target_link_libraries(${name} PUBLIC MLIR)
  target_link_libraries(${name} PUBLIC ${ARG_LINK} LLVM)
  target_precompile_headers(${name} REUSE_FROM LathePCH)
  set_property(GLOBAL APPEND PROPERTY LATHE_LIBS ${name})
endfunction()
