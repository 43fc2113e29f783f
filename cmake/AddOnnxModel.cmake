# add_onnx_model(<target> MODEL <file.onnx> [OPTIONS <options of lathe compile>...])
#
# A library to link that holds the compiled model with its weights and the runtime, and whose header <target>.h
# declares
#   lathe_error_code <target>_open(const lathe_open_options *options, lathe_model_t **model);
# It is compiled again when the model or its external data changes.
function(add_onnx_model target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "MODEL" "OPTIONS")
  if(NOT ARG_MODEL OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "add_onnx_model(${target}): expects MODEL <file.onnx> [OPTIONS ...]")
  endif()
  if(NOT TARGET Lathe::lathe)
    message(FATAL_ERROR "add_onnx_model(${target}): this installation of Lathe has no compiler")
  endif()
  if(NOT target MATCHES "^[A-Za-z_][A-Za-z0-9_]*$")
    message(FATAL_ERROR "add_onnx_model(${target}): the target's name is to be an identifier of C")
  endif()
  get_filename_component(model "${ARG_MODEL}" ABSOLUTE)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/${target}.model")
  file(MAKE_DIRECTORY "${folder}")
  set(outputs "${folder}/${target}.a" "${folder}/${target}.h" "${folder}/${target}.weights.o")
  add_custom_command(
    OUTPUT ${outputs}
    COMMAND Lathe::lathe compile "${model}" -o "${folder}/${target}.a" --weights=object --quiet
      "--depfile=${folder}/${target}.d" ${ARG_OPTIONS}
    DEPENDS "${model}" Lathe::lathe
    DEPFILE "${folder}/${target}.d"
    COMMENT "Compiling ${ARG_MODEL}"
    VERBATIM)
  add_custom_target(${target}_model DEPENDS ${outputs})
  add_library(${target} INTERFACE)
  add_dependencies(${target} ${target}_model)
  target_include_directories(${target} INTERFACE "${folder}")
  target_sources(${target} INTERFACE "${folder}/${target}.h")
  target_link_libraries(${target} INTERFACE
    "${folder}/${target}.a" "${folder}/${target}.weights.o" Lathe::runtime_static)
endfunction()
