// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_MEMORY_USE_H_
#define MTM_SERVER_MODEL_MEMORY_USE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "memory_store/memory.h"

namespace mtm {

enum class Mode { kExact, kCached };

enum class Method { kType1 = 1, kType2 = 2, kType3 = 3 };

// The paper's parameters (METHOD 3) with their defaults.
struct MemoryParameters {
  Method method = Method::kType3;
  int k = 5;                          // neighbours, >= 1
  double memory_fraction = 5;         // MF >= 0
  double bookkeeping_fraction = 0.9;  // BF, 0..1
  double score_scale = 0.01;          // TS > 0
  double residual_fraction = 0.33;    // R, 0..1; no meaning in Type 1
  double head_fraction = 1;           // 0 < f <= 1
};

// One memory at work in some layers. Uses of one sequence have disjoint layers, which the memory keeps.
struct MemoryUse {
  std::shared_ptr<const Memory> memory;
  std::vector<int> layers;  // from 1, ascending
  MemoryParameters parameters;
  // What the layers look up on a GPU, held there by Model::FindOnDevice and CopyToDevice.
  std::vector<std::shared_ptr<const void>> on_device;
};

// A tokens-head whose value a memory changed, and what was found for it.
struct TraceEntry {
  int layer = 0;     // from 1
  int head = 0;      // from 0
  int position = 0;  // in the context, from 0
  float attention = 0;
  float own_weight = 0;               // 0 in Type 2
  std::vector<Neighbour> neighbours;  // nearest first
  std::vector<float> weights;         // of the neighbours; with own_weight they sum to 1
  int use = 0;                        // index into the sequence's uses
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_MEMORY_USE_H_
