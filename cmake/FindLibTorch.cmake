# SPDX-License-Identifier: Apache-2.0
# Imported target LibTorch::LibTorch from a LibTorch tree (an unpacked PyPI wheel or a LibTorch archive)
# found through CMAKE_PREFIX_PATH. Torch's own package file is not used: with a CUDA build it fails
# where the CUDA toolkit is not installed, though nothing here compiles CUDA code.
find_path(LibTorch_INCLUDE_DIR NAMES ATen/ATen.h PATH_SUFFIXES include)
find_library(LibTorch_CPU_LIBRARY NAMES torch_cpu PATH_SUFFIXES lib)
find_library(LibTorch_C10_LIBRARY NAMES c10 PATH_SUFFIXES lib)
find_library(LibTorch_CUDA_LIBRARY NAMES torch_cuda PATH_SUFFIXES lib)
find_library(LibTorch_C10_CUDA_LIBRARY NAMES c10_cuda PATH_SUFFIXES lib)

get_filename_component(_lib_folder "${LibTorch_CPU_LIBRARY}" DIRECTORY)
# CUDA's runtime headers: the wheels', beside LibTorch, or a toolkit's. Not needed but for recording graphs.
if(LibTorch_CUDA_LIBRARY)
  file(GLOB _wheel_headers ${_lib_folder}/../../nvidia/cu*/include)
  find_path(LibTorch_CUDA_INCLUDE_DIR NAMES crt/host_defines.h HINTS ${_wheel_headers} /usr/local/cuda/include)
endif()
file(GLOB LibTorch_OPENMP_LIBRARY ${_lib_folder}/libgomp*.so*)

set(_version_header ${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h)
if(NOT EXISTS ${_version_header})
  set(_version_header ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include/torch/version.h)
endif()
if(EXISTS ${_version_header})
  file(STRINGS ${_version_header} _version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
  string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" LibTorch_VERSION "${_version_lines}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "deploy/setup.sh fetches LibTorch and prints the CMAKE_PREFIX_PATH to use")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE ${LibTorch_INCLUDE_DIR})
  # The CUDA wheel's libtorch_cpu needs CUDA's runtime, which lies beside it at run time (RPATH) but not at link time.
  target_link_options(LibTorch::LibTorch INTERFACE -Wl,--allow-shlib-undefined)
  target_link_libraries(LibTorch::LibTorch INTERFACE ${LibTorch_CPU_LIBRARY} ${LibTorch_C10_LIBRARY})
  # at::parallel_for is a template, which runs on one thread where it is compiled without OpenMP; its runtime is the one
  # that came with LibTorch.
  find_package(OpenMP REQUIRED)
  separate_arguments(_openmp_flags NATIVE_COMMAND "${OpenMP_CXX_FLAGS}")
  target_compile_options(LibTorch::LibTorch INTERFACE ${_openmp_flags})
  if(LibTorch_OPENMP_LIBRARY)
    target_link_libraries(LibTorch::LibTorch INTERFACE ${LibTorch_OPENMP_LIBRARY})
  else()
    target_link_libraries(LibTorch::LibTorch INTERFACE OpenMP::OpenMP_CXX)
  endif()
  if(LibTorch_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY)
    # Nothing names a symbol of it: registering its kernels is what it is linked for.
    target_link_libraries(LibTorch::LibTorch INTERFACE
      -Wl,--no-as-needed ${LibTorch_CUDA_LIBRARY} ${LibTorch_C10_CUDA_LIBRARY} -Wl,--as-needed)
  endif()
endif()
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_CUDA_LIBRARY
  LibTorch_C10_CUDA_LIBRARY LibTorch_CUDA_INCLUDE_DIR)
