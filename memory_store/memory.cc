// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory.h"

#include <cassert>
#include <utility>

#include "memory_store/memory_file.h"
#include "memory_store/search.h"

namespace mtm {
namespace {

// [n_tokens, head_dim] of a head, out of [n_head, n_tokens, head_dim].
std::span<const float> HeadOf(const float* tensor, const MemorySpec& spec, int head) {
  assert(tensor != nullptr && head >= 0 && head < spec.n_head);
  const size_t size = static_cast<size_t>(spec.n_tokens) * static_cast<size_t>(spec.head_dim);
  return {tensor + static_cast<size_t>(head) * size, size};
}

}  // namespace

Memory::Memory(MemoryInfo info, std::shared_ptr<const File> file)
    : info_(std::move(info)), file_(std::move(file)) {}

Memory::~Memory() = default;

std::span<const int32_t> Memory::tokens() const {
  return {file_->tokens, static_cast<size_t>(spec().n_tokens)};
}

bool Memory::has_layer(int layer) const {
  return layer >= 1 && static_cast<size_t>(layer) < file_->keys.size() &&
         file_->keys[static_cast<size_t>(layer)] != nullptr;
}

std::span<const float> Memory::keys(int layer, int head) const {
  assert(has_layer(layer));
  return HeadOf(file_->keys[static_cast<size_t>(layer)], spec(), head);
}

std::span<const float> Memory::values(int layer, int head) const {
  assert(has_layer(layer));
  return HeadOf(file_->values[static_cast<size_t>(layer)], spec(), head);
}

std::vector<Neighbour> Memory::Search(int layer, int head, std::span<const float> queries, int k) const {
  return NearestKeys(keys(layer, head), spec().head_dim, queries, k);
}

}  // namespace mtm
