# SPDX-License-Identifier: Apache-2.0
# Imported target Faiss::Faiss. FAISS's own package file names OpenMP and BLAS targets that differ between versions;
# a program of ours takes both from LibTorch where it links it (its MKL beats a reference BLAS ten times), and from
# the system otherwise.
find_path(Faiss_INCLUDE_DIR NAMES faiss/Index.h)
find_library(Faiss_LIBRARY NAMES faiss)
find_package(BLAS REQUIRED)
find_package(LAPACK REQUIRED)
if(Faiss_INCLUDE_DIR)
  file(STRINGS ${Faiss_INCLUDE_DIR}/faiss/Index.h _version_lines REGEX "define FAISS_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
  string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" FaissLibrary_VERSION "${_version_lines}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(FaissLibrary
  REQUIRED_VARS Faiss_LIBRARY Faiss_INCLUDE_DIR VERSION_VAR FaissLibrary_VERSION)
if(FaissLibrary_FOUND AND NOT TARGET Faiss::Faiss)
  add_library(Faiss::Faiss UNKNOWN IMPORTED)
  set_target_properties(Faiss::Faiss PROPERTIES
    IMPORTED_LOCATION ${Faiss_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${Faiss_INCLUDE_DIR})
  # GNU's OpenMP by name: a program with LibTorch finds LibTorch's own copy first, and has one thread pool.
  target_link_libraries(Faiss::Faiss INTERFACE gomp LAPACK::LAPACK BLAS::BLAS)
endif()
mark_as_advanced(Faiss_INCLUDE_DIR Faiss_LIBRARY)
