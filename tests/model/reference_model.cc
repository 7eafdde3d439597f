// SPDX-License-Identifier: Apache-2.0
#include "tests/model/reference_model.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "server/model/safetensors.h"
#include "tests/support/safetensors_writer.h"

namespace mtm {
namespace {

using Row = ReferenceModel::Row;

double Dot(const double* a, const double* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void Softmax(Row& scores) {
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - max);
  for (double& score : scores) score /= sum;
}

double Gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

void Add(const Row& from, Row& to) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

}  // namespace

ReferenceModel::ReferenceModel(const std::filesystem::path& folder)
    : config_(ReadModelConfig(folder / "config.json").value()) {
  const auto file = SafetensorsFile::Open(folder / "model.safetensors").value();
  for (const auto& [name, view] : file->tensors()) {
    tensors_[name] = Decode("F32", {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()});
  }
}

Row ReferenceModel::Linear(const std::string& name, const Row& x) const {
  const auto &weight = (*this)[name + ".weight"], &bias = (*this)[name + ".bias"];
  Row y(bias.begin(), bias.end());
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t o = 0; o < y.size(); ++o) y[o] += x[i] * weight[i * y.size() + o];
  }
  return y;
}

Row ReferenceModel::Norm(const std::string& name, const Row& x) const {
  const auto &weight = (*this)[name + ".weight"], &bias = (*this)[name + ".bias"];
  const auto n = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (const double value : x) mean += value / n;
  for (const double value : x) variance += (value - mean) * (value - mean) / n;
  Row y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    y[i] = (x[i] - mean) / std::sqrt(variance + config_.layer_norm_epsilon) * weight[i] + bias[i];
  }
  return y;
}

Row ReferenceModel::Embed(int32_t token, size_t position) const {
  const auto d = static_cast<size_t>(config_.n_embd);
  const float* const te = &(*this)["wte.weight"][static_cast<size_t>(token) * d];
  const float* const pe = &(*this)["wpe.weight"][position * d];
  Row x(d);
  for (size_t i = 0; i < d; ++i) x[i] = double(te[i]) + pe[i];
  return x;
}

Row ReferenceModel::Logits(const Row& x) const {
  const Row last = Norm("ln_f", x);
  const auto& wte = (*this)["wte.weight"];
  Row logits(static_cast<size_t>(config_.vocab_size));
  for (size_t token = 0; token < logits.size(); ++token) {
    for (size_t i = 0; i < last.size(); ++i) logits[token] += last[i] * wte[token * last.size() + i];
  }
  return logits;
}

// S[head, position, 0..position]
Row ReferenceRun::Attention(const Layer& layer, size_t head, size_t position) const {
  Row scores;
  for (size_t j = 0; j <= position; ++j) {
    scores.push_back(Dot(&layer.q[position][head * head_dim()], &layer.k[j][head * head_dim()], head_dim()) /
                     std::sqrt(double(head_dim())));
  }
  Softmax(scores);
  return scores;
}

Row ReferenceRun::Attend(const Layer& layer, const std::vector<Row>& values, size_t position) const {
  Row out(n_head() * head_dim());
  for (size_t head = 0; head < n_head(); ++head) {
    const Row attention = Attention(layer, head, position);
    for (size_t j = 0; j <= position; ++j) {
      for (size_t i = head * head_dim(); i < (head + 1) * head_dim(); ++i)
        out[i] += attention[j] * values[j][i];
    }
  }
  return out;
}

void ReferenceRun::Decide(double value, double threshold) {
  margin_ = std::min(margin_, std::abs(value / threshold - 1));
}

std::vector<ReferenceRun::Candidate> ReferenceRun::Select(const Layer& layer, const MemoryParameters& p) {
  const size_t t = layer.q.size();
  const double mf = p.memory_fraction, bf = p.bookkeeping_fraction, threshold = 1 / (mf * double(t));
  std::vector<Candidate> selected;
  for (size_t head = 0; head < n_head(); ++head) {
    const Row s = Attention(layer, head, t - 1);
    for (size_t j = 0; j < t; ++j) {
      if (mf > 0) Decide(s[j], threshold);
      if (j == 0 && bf > 0 && bf < 1) Decide(s[j], bf);
      const bool above = s[j] >= threshold;
      if (j > 0 ? mf > 0 && above : (mf == 0 || above) && (bf == 0 || s[j] > bf) && bf != 1) {
        selected.push_back({s[j], head, j});
      }
    }
  }
  std::stable_sort(selected.begin(), selected.end(),
                   [](const Candidate& a, const Candidate& b) { return a.attention > b.attention; });
  const auto limit = static_cast<size_t>(std::ceil(p.head_fraction * double(n_head() * t)));
  if (selected.size() > limit) {
    Decide(selected[limit - 1].attention, selected[limit].attention);
    selected.resize(limit);
  }
  return selected;
}

std::vector<size_t> ReferenceRun::Nearest(std::span<const float> keys, const double* key, size_t k) {
  std::vector<std::pair<double, size_t>> order;
  for (size_t row = 0; row < keys.size() / head_dim(); ++row) {
    double distance = 0;
    for (size_t i = 0; i < head_dim(); ++i) {
      const double difference = key[i] - keys[row * head_dim() + i];
      distance += difference * difference;
    }
    order.emplace_back(distance, row);
  }
  std::sort(order.begin(), order.end());
  // Rows of other windows may be equal, and are then equal to the model too.
  if (k < order.size() && order[k].first != order[k - 1].first) Decide(order[k].first, order[k - 1].first);
  std::vector<size_t> rows;
  for (size_t i = 0; i < std::min(k, order.size()); ++i) rows.push_back(order[i].second);
  return rows;
}

void ReferenceRun::ReplaceValues(const Layer& layer, int number, const MemoryUse& use,
                                 std::vector<Row>& values) {
  const MemoryParameters& p = use.parameters;
  for (const Candidate& selected : Select(layer, p)) {
    ++n_selected_;
    const size_t first = selected.head * head_dim(), d = head_dim();
    const double* const q = &layer.q[selected.position][first];
    std::vector<float> keys(static_cast<size_t>(use.memory->n_tokens()) * d), stored(keys.size());
    use.memory->CopyRows(number, static_cast<int>(selected.head), 0, keys, stored);
    std::vector<Row> candidate_keys, candidate_values;
    const auto own = [&](const std::vector<Row>& rows) {
      return Row(&rows[selected.position][first], &rows[selected.position][first] + d);
    };
    if (p.method != Method::kType2)
      candidate_keys.push_back(own(layer.k)), candidate_values.push_back(own(layer.v));
    for (const size_t row : Nearest(keys, &layer.k[selected.position][first], static_cast<size_t>(p.k))) {
      candidate_keys.emplace_back(keys.begin() + row * d, keys.begin() + (row + 1) * d);
      candidate_values.emplace_back(stored.begin() + row * d, stored.begin() + (row + 1) * d);
    }
    Row weights;
    for (const Row& key : candidate_keys)
      weights.push_back(Dot(q, key.data(), d) / std::sqrt(double(d)) * p.score_scale);
    Softmax(weights);
    const double residual = p.method == Method::kType1 ? 0 : p.residual_fraction;
    for (size_t i = 0; i < d; ++i) {
      double m = 0;
      for (size_t c = 0; c < weights.size(); ++c) m += weights[c] * candidate_values[c][i];
      values[selected.position][first + i] =
          (1 - residual) * m + residual * layer.v[selected.position][first + i];
    }
  }
}

Row ReferenceRun::Step(const std::vector<int32_t>& tokens) {
  n_selected_ = 0;
  if (mode_ == Mode::kExact) layers_.assign(layers_.size(), {});
  const size_t first = layers_[0].q.size(), d = n_head() * head_dim();
  std::vector<Row> x;
  for (size_t j = first; j < tokens.size(); ++j) x.push_back(model_.Embed(tokens[j], j));
  for (size_t index = 0; index < layers_.size(); ++index) {
    Layer& layer = layers_[index];
    const std::string block = absl::StrCat("h.", index, ".");
    for (const Row& row : x) {
      const Row qkv = model_.Linear(block + "attn.c_attn", model_.Norm(block + "ln_1", row));
      layer.q.emplace_back(&qkv[0], &qkv[d]);
      layer.k.emplace_back(&qkv[d], &qkv[2 * d]);
      layer.v.emplace_back(&qkv[2 * d], &qkv[2 * d] + d);
    }
    std::vector<Row> values = layer.v;
    for (const MemoryUse& use : uses_) {
      const int number = static_cast<int>(index) + 1;
      if (std::ranges::count(use.layers, number) > 0) ReplaceValues(layer, number, use, values);
    }
    for (size_t j = 0; j < x.size(); ++j) {
      Add(model_.Linear(block + "attn.c_proj", Attend(layer, values, first + j)), x[j]);
      Row hidden = model_.Linear(block + "mlp.c_fc", model_.Norm(block + "ln_2", x[j]));
      std::transform(hidden.begin(), hidden.end(), hidden.begin(), Gelu);
      Add(model_.Linear(block + "mlp.c_proj", hidden), x[j]);
    }
  }
  return model_.Logits(x.back());
}

}  // namespace mtm
