# SPDX-License-Identifier: Apache-2.0
# `cmake --install build` and `cpack -G DEB`, run in the build folder. The programs come with the LibTorch that they
# were built with, in lib/mtm and in the wheel's own layout, which its RPATHs rely on; Debian's other libraries
# become the package's Depends. Where LibTorch is Debian's own, it is one of those.
get_filename_component(_torch_lib ${LibTorch_CPU_LIBRARY} DIRECTORY)
get_filename_component(_torch_root ${_torch_lib}/../.. ABSOLUTE)
set(_is_private TRUE)
if(_torch_lib IN_LIST CMAKE_SYSTEM_LIBRARY_PATH OR _torch_lib MATCHES "^/usr/lib")
  set(_is_private FALSE)
endif()

if(TARGET mtm_server)
  if(_is_private)
    set_target_properties(mtm_server PROPERTIES INSTALL_RPATH [[$ORIGIN/../lib/mtm/torch/lib]])
  endif()
  install(TARGETS mtm_server RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(_is_private)
  install(DIRECTORY ${_torch_lib}/ DESTINATION lib/mtm/torch/lib
    FILES_MATCHING PATTERN "*.so*" PATTERN "*python*" EXCLUDE PATTERN "libshm*" EXCLUDE)
  if(EXISTS ${_torch_root}/nvidia)
    # Without what serves several machines or profilers: it needs libraries that a plain machine does not have.
    install(DIRECTORY ${_torch_root}/nvidia DESTINATION lib/mtm
      FILES_MATCHING PATTERN "*.so*" PATTERN "nvshmem_*" EXCLUDE PATTERN "libcufile_rdma*" EXCLUDE
      PATTERN "libcheckpoint*" EXCLUDE PATTERN "libnvperf*" EXCLUDE PATTERN "libpcsampling*" EXCLUDE)
  endif()
  if(EXISTS ${_torch_root}/licenses)
    install(DIRECTORY ${_torch_root}/licenses DESTINATION ${CMAKE_INSTALL_DOCDIR})
  endif()
endif()

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
foreach(_document README.md memory_store/FORMAT.md)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${_document})
    install(FILES ${PROJECT_SOURCE_DIR}/${_document} DESTINATION ${CMAKE_INSTALL_DOCDIR})
  endif()
endforeach()

# Not enabled: its configuration is the administrator's to write, from the example.
install(FILES ${PROJECT_SOURCE_DIR}/deploy/systemd/mtm.service DESTINATION lib/systemd/system)
install(FILES ${PROJECT_SOURCE_DIR}/deploy/systemd/mtm.toml DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "mtm maintainers <mtm@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "gRPC inference service that gives GPT-2 a persistent memory")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# LibTorch is large: gzip takes minutes on it.
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
if(_is_private)
  file(GLOB _nvidia_libs LIST_DIRECTORIES TRUE ${_torch_root}/nvidia/*/lib)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${_torch_lib} ${_nvidia_libs})
  if(LibTorch_CUDA_LIBRARY)
    # libcuda.so.1 comes with a driver that the machine that builds need not have: an empty one to look at.
    set(_driver_stub ${CMAKE_CURRENT_BINARY_DIR}/driver_stub)
    file(WRITE ${_driver_stub}/empty.cc "")
    execute_process(COMMAND ${CMAKE_CXX_COMPILER} -shared -Wl,-soname,libcuda.so.1
      -o ${_driver_stub}/libcuda.so.1 ${_driver_stub}/empty.cc COMMAND_ERROR_IS_FATAL ANY)
    list(APPEND CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${_driver_stub})
  endif()
endif()
include(CPack)
