# What `cmake --install` writes: the tools, the runtime, its headers, and the CMake package with add_onnx_model.
# The component `python` is what the wheels hold.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Lathe)

set_target_properties(lathe_runtime_shared PROPERTIES EXPORT_NAME runtime)
set_target_properties(lathe_runtime_static PROPERTIES EXPORT_NAME runtime_static)
install(TARGETS lathe_runtime_shared lathe_runtime_static EXPORT LatheTargets COMPONENT runtime
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/runtime/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT runtime
  FILES_MATCHING PATTERN "*.h")

if(LATHE_BUILD_COMPILER)
  # The rest of LLVM stays where its packages put it.
  set_target_properties(lathe lathe-opt lathe-lsp-server PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
  install(TARGETS lathe lathe-opt lathe-lsp-server EXPORT LatheTargets COMPONENT tools
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  # Not the installed target: it keeps the run path of the build, which names LLVM's folder.
  install(PROGRAMS $<TARGET_FILE:lathe> DESTINATION lathe/bin COMPONENT python EXCLUDE_FROM_ALL)
endif()
install(PROGRAMS $<TARGET_FILE:lathe_runtime_shared> DESTINATION lathe/lib RENAME liblathe.so COMPONENT python
  EXCLUDE_FROM_ALL)

get_property(components GLOBAL PROPERTY LATHE_COMPONENTS)
foreach(component IN LISTS components)
  install(TARGETS ${component} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime)
  install(PROGRAMS $<TARGET_FILE:${component}> DESTINATION lathe/lib COMPONENT python EXCLUDE_FROM_ALL)
endforeach()

install(EXPORT LatheTargets NAMESPACE Lathe:: DESTINATION ${package_dir} COMPONENT runtime)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/LatheConfig.cmake.in ${PROJECT_BINARY_DIR}/LatheConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/LatheConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/LatheConfig.cmake
  ${PROJECT_BINARY_DIR}/LatheConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/AddOnnxModel.cmake
  DESTINATION ${package_dir} COMPONENT runtime)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/THIRD_PARTY.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
