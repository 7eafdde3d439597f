// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/validate_uses.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "server/generation/stop_reasons.h"
#include "server/rpc/memory_rights.h"
#include "server/rpc/validate_memory.h"

namespace mtm {
namespace {

// When what is in use may have been let go.
constexpr absl::Duration kLoadRetryDelay = absl::Seconds(1);

constexpr Range kNotNegative{0};
constexpr Range kAboveZero{.low = 0, .above_low = true};
constexpr Range kShare{0, 1};
constexpr Range kShareAboveZero{.low = 0, .high = 1, .above_low = true};

std::string UseField(int index, const std::string& field) {
  return absl::StrCat("memory_uses[", index, "].", field);
}

Method ReadMethod(int index, const v1::MemoryUse& proto, FieldErrors& errors) {
  switch (proto.method()) {
    case v1::METHOD_TYPE_1:
      return Method::kType1;
    case v1::METHOD_TYPE_2:
      return Method::kType2;
    case v1::METHOD_UNSPECIFIED:
    case v1::METHOD_TYPE_3:
      return Method::kType3;
    default:
      errors.Add(UseField(index, "method"),
                 absl::StrCat("is ", static_cast<int>(proto.method()), "; must be METHOD_TYPE_1, _2 or _3"));
      return Method::kType3;
  }
}

MemoryParameters ReadParameters(int index, const v1::MemoryUse& proto, FieldErrors& errors) {
  MemoryParameters p;
  p.method = ReadMethod(index, proto, errors);
  if (proto.has_k()) p.k = proto.k();
  if (proto.has_memory_fraction()) p.memory_fraction = proto.memory_fraction();
  if (proto.has_bookkeeping_fraction()) p.bookkeeping_fraction = proto.bookkeeping_fraction();
  if (proto.has_score_scale()) p.score_scale = proto.score_scale();
  if (proto.has_residual_fraction()) p.residual_fraction = proto.residual_fraction();
  if (proto.has_head_fraction()) p.head_fraction = proto.head_fraction();
  CheckNumber(UseField(index, "k"), p.k, Range{1}, errors);
  CheckNumber(UseField(index, "memory_fraction"), p.memory_fraction, kNotNegative, errors);
  CheckNumber(UseField(index, "bookkeeping_fraction"), p.bookkeeping_fraction, kShare, errors);
  CheckNumber(UseField(index, "score_scale"), p.score_scale, kAboveZero, errors);
  CheckNumber(UseField(index, "residual_fraction"), p.residual_fraction, kShare, errors);
  CheckNumber(UseField(index, "head_fraction"), p.head_fraction, kShareAboveZero, errors);
  return p;
}

// Memories act on disjoint layers. `owners`: the use that each layer has so far.
void ClaimLayers(int index, bool by_default, const std::vector<int>& layers, std::map<int, int>& owners,
                 FieldErrors& errors) {
  for (int layer : layers) {
    const auto [owner, is_new] = owners.emplace(layer, index);
    if (is_new) continue;
    errors.Add(
        UseField(index, "layers"),
        absl::StrCat("layer ", layer, by_default ? ", one of the default layers," : "",
                     " is already used by memory_uses[", owner->second, "]; a layer takes one memory"));
  }
}

std::string ShortFingerprint(const std::string& fingerprint) { return fingerprint.substr(0, 12); }

absl::Status CheckFits(int index, const MemoryUse& use, const ModelInfo& model) {
  const MemorySpec& spec = use.memory->spec();
  const std::string& name = use.memory->info().name;
  if (spec.model_fingerprint != model.fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(UseField(index, "memory"), ": ", name, " was made by another model, ",
                     ShortFingerprint(spec.model_fingerprint), "...; this server holds ",
                     ShortFingerprint(model.fingerprint), "..."));
  }
  if (spec.n_head != model.config.n_head || spec.head_dim != model.config.head_dim()) {
    return absl::FailedPreconditionError(
        absl::StrCat(UseField(index, "memory"), ": ", name, " has ", spec.n_head, " heads of ", spec.head_dim,
                     "; this model has ", model.config.n_head, " of ", model.config.head_dim()));
  }
  for (int layer : use.layers) {
    if (use.memory->has_layer(layer)) continue;
    return absl::FailedPreconditionError(absl::StrCat(UseField(index, "layers"), ": ", name,
                                                      " does not keep layer ", layer, "; it keeps ",
                                                      absl::StrJoin(spec.layers, ", ")));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<int> ReadLayers(const std::string& field, const google::protobuf::RepeatedField<int32_t>& layers,
                            int n_layer, FieldErrors& errors) {
  std::map<int, int> first_at;
  for (int i = 0; i < layers.size(); ++i) {
    const std::string at = absl::StrCat(field, "[", i, "]");
    if (layers[i] < 1 || layers[i] > n_layer) {
      errors.Add(at, absl::StrCat("is ", layers[i], "; this model has layers 1 to ", n_layer));
      continue;
    }
    const auto [first, is_new] = first_at.emplace(layers[i], i);
    if (!is_new) {
      errors.Add(at, absl::StrCat("is ", layers[i], ", as ", field, "[", first->second,
                                  "] is; each layer is named once"));
    }
  }
  std::vector<int> ascending;
  for (const auto& [layer, index] : first_at) ascending.push_back(layer);
  return ascending;
}

std::vector<MemoryUse> ReadMemoryUses(const MemoryUseProtos& protos, const ModelConfig& config,
                                      FieldErrors& errors) {
  std::vector<MemoryUse> uses;
  std::map<int, int> owners;
  for (int i = 0; i < protos.size(); ++i) {
    const v1::MemoryUse& proto = protos[i];
    const bool by_default = proto.layers().empty();
    MemoryUse& use = uses.emplace_back();
    CheckMemoryReference(UseField(i, "memory"), proto.memory(), errors);
    use.layers = by_default ? config.default_layers()
                            : ReadLayers(UseField(i, "layers"), proto.layers(), config.n_layer, errors);
    ClaimLayers(i, by_default, use.layers, owners, errors);
    use.parameters = ReadParameters(i, proto, errors);
  }
  return uses;
}

bool WouldLoad(const MemoryUseProtos& protos, const MemoryStore& store, const Principal& principal) {
  return std::ranges::any_of(protos, [&](const v1::MemoryUse& use) {
    return principal.Check(Right::kRead, use.memory()).ok() && store.WouldLoad(use.memory());
  });
}

absl::Status FindMemories(const MemoryUseProtos& protos, MemoryStore& store, const ModelInfo& model,
                          const Principal& principal, std::vector<MemoryUse>& uses) {
  for (int i = 0; i < protos.size(); ++i) {
    const std::string& reference = protos[i].memory();
    auto memory = WithRight(principal, Right::kRead, reference, store, [&] { return store.Get(reference); });
    if (!memory.ok()) {
      const std::string message = absl::StrCat(UseField(i, "memory"), ": ", memory.status().message());
      // What the request itself holds of other memories is never let go for it.
      const bool may_fit_later = absl::IsResourceExhausted(memory.status()) && i == 0;
      if (may_fit_later) return Overloaded(message, kLoadRetryDelay);
      return absl::Status(memory.status().code(), message);
    }
    uses[i].memory = *std::move(memory);
    const absl::Status fits = CheckFits(i, uses[i], model);
    if (!fits.ok()) return fits;
  }
  return absl::OkStatus();
}

}  // namespace mtm
