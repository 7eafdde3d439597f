// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_MODEL_H_
#define MTM_SERVER_MODEL_MODEL_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory_store/memory.h"
#include "server/model/config.h"
#include "server/model/memory_use.h"

namespace mtm {

class ForwardPass;
class Sequence;

// GPT-2's weights and its forward pass. Const after loading; Step is to be called from one thread at a time,
// since LibTorch gives each calling thread an OpenMP team of its own.
class Model {
 public:
  // A Hugging Face GPT-2 folder: config.json and model.safetensors or its sharded index.
  // `device` is "cpu", "cuda:N" or "torch": the CPU, but by the operations that a GPU runs, so that these are
  // tested where there is none. `weights` may be float32, on "cpu" halves and int8, elsewhere bfloat16.
  // NOT_FOUND: a file is missing. INVALID_ARGUMENT: names the field or tensor at fault. FAILED_PRECONDITION:
  // no such device here, or it does not keep such weights.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::filesystem::path& folder,
                                                     const std::string& device = "cpu",
                                                     WeightType weights = WeightType::kF32);

  // Random weights (normal, 0.02; seeded) of any shape, made in memory: for benchmarks and tests.
  static absl::StatusOr<std::unique_ptr<Model>> Random(const ModelConfig& config, uint64_t seed,
                                                       const std::string& device = "cpu",
                                                       WeightType weights = WeightType::kF32);
  ~Model();

  const ModelConfig& config() const;
  // SHA-256 over configuration and tensors as stored, in the order of their names without the `transformer.`
  // prefix: equal for every way of storing the same weights in the same types.
  const std::string& fingerprint() const;
  const std::string& device() const;
  WeightType weight_type() const;
  int64_t parameter_count() const;

  // Runs the pending tokens of each sequence (at least one in each) and leaves their logits with them. The
  // sequences share the matrix products; on the CPU what one gets does not depend on the others (a GPU's
  // products may sum in another order for another number of rows).
  // RESOURCE_EXHAUSTED: out of memory. INTERNAL: LibTorch failed. After an error the sequences are unusable.
  absl::Status Step(std::span<Sequence* const> sequences) const;

  // Copies to the device what sequences with these uses look up there, which takes seconds of a large memory.
  // The uses hold it there from then on, in a waiting request too: what does not fit beside all that is held
  // is RESOURCE_EXHAUSTED. Whatever was not copied is by their first step, which holds up all others.
  // Thread-safe. Errors as Step's.
  absl::Status CopyToDevice(std::span<MemoryUse> uses) const;
  // True: it is there already, and the uses hold it. On the CPU always.
  bool FindOnDevice(std::span<MemoryUse> uses) const;

  struct Weights;
  const Weights& weights() const { return *weights_; }

 private:
  explicit Model(std::unique_ptr<const Weights> weights);
  std::unique_ptr<const Weights> weights_;
  mutable std::mutex copying_;  // to the device: two requests that each hold a part of it would both fail
};

// A Model::Step in pieces, so that a long one need not hold up others between its layers. What it computes
// does not depend on the pieces. Until it is done nothing else is to be done with its sequences, but to
// destroy them after it.
class ForwardPass {
 public:
  // `model` and the sequences outlive the pass. Each sequence has pending tokens.
  ForwardPass(const Model& model, std::vector<Sequence*> sequences);
  ~ForwardPass();
  ForwardPass(const ForwardPass&) = delete;
  ForwardPass& operator=(const ForwardPass&) = delete;

  // Runs layers until `max_rows` rows have gone through one, counted once a layer: at least one layer.
  // Precondition: not done. Errors as Model::Step's.
  absl::Status Run(int64_t max_rows);
  bool done() const;

 private:
  struct State;  // LibTorch's side
  std::unique_ptr<State> state_;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_MODEL_H_
