// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_MODEL_REFERENCE_MODEL_H_
#define MTM_TESTS_MODEL_REFERENCE_MODEL_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "server/model/config.h"
#include "server/model/memory_use.h"

namespace mtm {

// GPT-2 in plain loops and doubles, from a folder of F32 weights without prefix.
class ReferenceModel {
 public:
  using Row = std::vector<double>;

  explicit ReferenceModel(const std::filesystem::path& folder);

  const ModelConfig& config() const { return config_; }
  const std::vector<float>& operator[](const std::string& tensor) const { return tensors_.at(tensor); }
  Row Linear(const std::string& name, const Row& x) const;
  Row Norm(const std::string& name, const Row& x) const;
  Row Embed(int32_t token, size_t position) const;
  Row Logits(const Row& x) const;

 private:
  ModelConfig config_;
  std::map<std::string, std::vector<float>> tensors_;
};

// METHOD 2 and 4, word for word: exact mode runs the whole context at every step, cached mode one row in
// every layer.
class ReferenceRun {
 public:
  using Row = ReferenceModel::Row;

  ReferenceRun(const ReferenceModel& model, Mode mode, std::vector<MemoryUse> uses)
      : model_(model),
        mode_(mode),
        uses_(std::move(uses)),
        layers_(static_cast<size_t>(model.config().n_layer)) {}

  // `tokens`: the context; in cached mode that of the step before and one more. Logits of the last position.
  Row Step(const std::vector<int32_t>& tokens);

  int64_t n_selected() const { return n_selected_; }  // of the last step

  // How far, relatively, the nearest decision of any step so far was from falling the other way: what
  // rounding may turn.
  double margin() const { return margin_; }

 private:
  // By position, [n_embd]: heads side by side.
  struct Layer {
    std::vector<Row> q, k, v;
  };
  struct Candidate {
    double attention;
    size_t head, position;
  };

  Row Attention(const Layer& layer, size_t head, size_t position) const;
  Row Attend(const Layer& layer, const std::vector<Row>& values, size_t position) const;
  void Decide(double value, double threshold);
  std::vector<Candidate> Select(const Layer& layer, const MemoryParameters& parameters);
  std::vector<size_t> Nearest(std::span<const float> keys, const double* key, size_t k);
  void ReplaceValues(const Layer& layer, int number, const MemoryUse& use, std::vector<Row>& values);

  size_t n_head() const { return static_cast<size_t>(model_.config().n_head); }
  size_t head_dim() const { return static_cast<size_t>(model_.config().head_dim()); }

  const ReferenceModel& model_;
  Mode mode_;
  std::vector<MemoryUse> uses_;
  std::vector<Layer> layers_;
  int64_t n_selected_ = 0;
  double margin_ = 1;
};

}  // namespace mtm

#endif  // MTM_TESTS_MODEL_REFERENCE_MODEL_H_
