// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_CPU_H_
#define MTM_MEMORY_STORE_CPU_H_

#if defined(__x86_64__)
#include <cpuid.h>

namespace mtm {

// Instructions for half floats, and a system that keeps their registers. Clang 14's __builtin_cpu_supports
// does not know their name.
inline bool CpuHasF16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0 &&
         __builtin_cpu_supports("avx");
}

}  // namespace mtm

#endif

#endif  // MTM_MEMORY_STORE_CPU_H_
