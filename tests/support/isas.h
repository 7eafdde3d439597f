// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_ISAS_H_
#define MTM_TESTS_SUPPORT_ISAS_H_

#include <vector>

#include "memory_store/cpu.h"

namespace mtm {

// The sets of instructions that this processor has, each of which a kernel is tested with.
inline std::vector<Isa> Isas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kVnni}) {
    if (isa <= BestIsa()) isas.push_back(isa);
  }
  return isas;
}

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_ISAS_H_
