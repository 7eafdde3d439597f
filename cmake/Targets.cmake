# SPDX-License-Identifier: Apache-2.0
# mtm_library(NAME SOURCES... [PUBLIC targets...] [PRIVATE targets...])
#   One library a folder. Its dependencies stand in this one call, so that a new arrow is a line in a diff:
#   rpc -> generation -> model -> memory_store; text is a leaf; proto is seen by rpc and client only.
# mtm_program(NAME SOURCES... DEPS targets...)
# mtm_test(NAME SOURCES... DEPS targets... [LABELS labels...])
#   A GoogleTest program; each of its tests is one ctest test.

# For our own code; generated and foreign headers are system headers. Designated initialisers may leave defaults out.
set(MTM_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-missing-field-initializers -Werror)
if(MTM_SANITIZE)
  add_compile_options(-fsanitize=${MTM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MTM_SANITIZE})
  if(MTM_SANITIZE STREQUAL "thread")
    # Protobuf's map fields have two members more where a compiler says this; Debian's library was built without.
    add_compile_options(-U__SANITIZE_THREAD__ -D_GLIBCXX_TSAN=1)
  endif()
endif()

function(mtm_own_code target)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(${target} PRIVATE ${MTM_WARNINGS})
endfunction()

function(mtm_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  mtm_own_code(${name})
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()

function(mtm_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  mtm_own_code(${name})
  target_link_libraries(${name} PRIVATE ${arg_DEPS})
  if(MTM_SANITIZE STREQUAL "thread")
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/tsan_suppressions.cc)
  elseif(MTM_SANITIZE MATCHES "address")
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/lsan_suppressions.cc)
  endif()
endfunction()

function(mtm_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;LABELS" ${ARGN})
  mtm_program(${name} SOURCES ${arg_SOURCES} DEPS ${arg_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE MTM_TESTDATA="${PROJECT_SOURCE_DIR}/tests/testdata")
  # Tests share the cores: OpenMP teams of several processes would spin against each other.
  set(_properties TIMEOUT 300 ENVIRONMENT OMP_NUM_THREADS=1)
  if(arg_LABELS)
    list(APPEND _properties LABELS "${arg_LABELS}")
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES ${_properties})
endfunction()
include(GoogleTest)
