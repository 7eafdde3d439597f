// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_CPU_H_
#define MTM_MEMORY_STORE_CPU_H_

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace mtm {

// Instructions that kernels are written for; each comes with all before it.
enum class Isa {
  kPortable,
  kAvx2,    // with FMA and F16C
  kAvx512,  // F
  kVnni,    // of AVX-512
};

#if defined(__x86_64__)

// In front of a function that is compiled for one of them.
#define MTM_AVX2 __attribute__((target("avx2,fma,f16c")))
#if defined(__clang__)  // prefers wide registers without being told
#define MTM_AVX512 __attribute__((target("avx512f")))
#else
#define MTM_AVX512 __attribute__((target("avx512f,prefer-vector-width=512")))
#endif
#define MTM_VNNI __attribute__((target("avx512f,avx512vnni")))

// Instructions for half floats, and a system that keeps their registers. Clang 14's __builtin_cpu_supports
// does not know their name.
inline bool CpuHasF16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0 &&
         __builtin_cpu_supports("avx");
}
#endif

// What this processor has.
inline Isa BestIsa() {
#if defined(__x86_64__)
  static const Isa best = [] {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !CpuHasF16c())
      return Isa::kPortable;
    if (!__builtin_cpu_supports("avx512f")) return Isa::kAvx2;
    return __builtin_cpu_supports("avx512vnni") ? Isa::kVnni : Isa::kAvx512;
  }();
  return best;
#else
  return Isa::kPortable;
#endif
}

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_CPU_H_
