# Flags that hold for every target: warnings, linker, sanitizers, ccache.
add_compile_options(-Wall -Wextra -Wno-unused-parameter -fvisibility=hidden)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # A precompiled header's time stamp would make every ccache look-up miss.
  add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
  add_link_options(-fuse-ld=lld)
else()
  # g++ 12 takes the value of an empty std::optional or unique_function for one that is read.
  add_compile_options(-Wno-maybe-uninitialized)
  # What MLIR's library, which clang has compiled, is asked for by the spelling of a type.
  include_directories(BEFORE "${PROJECT_SOURCE_DIR}/cmake/gcc")
endif()
if(LATHE_SANITIZE)
  add_compile_options(-fsanitize=${LATHE_SANITIZE} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${LATHE_SANITIZE})
  if(LATHE_SANITIZE MATCHES "undefined")
    # Otherwise undefined behaviour is only printed, and the test that ran into it passes.
    add_compile_options(-fno-sanitize-recover=all)
    add_link_options(-fno-sanitize-recover=all)
  endif()
endif()

find_program(LATHE_CCACHE ccache)
if(LATHE_CCACHE)
  # Dependencies from the compiler's own list: without a precompiled header's help, preprocessing takes three times as
  # long as compiling. There is no CCACHE_BASEDIR: a precompiled header names its sources by absolute paths, and one
  # that came from another folder would break with it.
  set(settings CCACHE_DEPEND=1 CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime)
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env ${settings} ${LATHE_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env ${settings} ${LATHE_CCACHE})
endif()
