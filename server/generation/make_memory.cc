// SPDX-License-Identifier: Apache-2.0
#include "server/generation/make_memory.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "memory_store/memory_name.h"
#include "server/generation/forget.h"
#include "server/generation/revision.h"

namespace mtm {
namespace {

using MadeMemory = absl::StatusOr<std::shared_ptr<const Memory>>;

// The leading tokens and those of the window, whose keys and values are written.
absl::Status RunWindow(const Model& model, const MemorySpec& spec, const OutputWindow& window,
                       const MakeHooks& hooks, MemoryWriter& writer) {
  const int n_leading = static_cast<int>(spec.leading.size());
  Sequence sequence(model, {.capacity = n_leading + static_cast<int>(window.n_tokens), .logits = false});
  sequence.Append(spec.leading);
  sequence.Append(window.tokens);
  if (absl::Status status = hooks.step(sequence); !status.ok()) return status;
  if (absl::Status status = writer.BeginWindow(window.tokens); !status.ok()) return status;

  std::vector<float> keys(window.tokens.size() * static_cast<size_t>(spec.head_dim)), values(keys.size());
  for (const int layer : spec.layers) {
    for (int head = 0; head < spec.n_head; ++head) {
      absl::Status status = sequence.CopyKeysValues(layer, head, n_leading, keys, values);
      if (status.ok()) status = writer.Write(layer, head, keys, values);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

// A version to be made: the writer is opened when the work begins.
struct Work {
  MemorySpec spec;
  std::shared_ptr<const Memory> base;  // of the windows that are copied
  std::vector<OutputWindow> windows;
  std::function<absl::StatusOr<std::unique_ptr<MemoryWriter>>(const std::vector<PlannedWindow>&)> open;
  CommitOptions commit;
};

MadeMemory Carry(const Model& model, const MakeHooks& hooks, const Work& work) {
  if (absl::Status status = hooks.check(); !status.ok()) return status;  // before room is made on disk
  std::vector<PlannedWindow> planned;
  int64_t done = 0, total = 0;
  for (const OutputWindow& window : work.windows) {
    planned.push_back({.n_tokens = window.n_tokens, .source = window.source});
    total += window.n_tokens;
  }
  hooks.progress(done, total);
  const auto writer = work.open(planned);
  if (!writer.ok()) return writer.status();
  for (const OutputWindow& window : work.windows) {
    absl::Status status = hooks.check();
    if (!status.ok()) return status;
    status = window.copied ? (*writer)->CopyWindow(*work.base, *window.copied)
                           : RunWindow(model, work.spec, window, hooks, **writer);
    if (!status.ok()) return status;
    hooks.progress(done += window.n_tokens, total);
  }
  if (absl::Status status = hooks.check(); !status.ok()) return status;
  return (*writer)->Commit(work.commit, [&](double) { return hooks.check(); });
}

absl::StatusOr<Work> Plan(const Model& model, const Tokenizer*, MemoryStore& store,
                          const CreateRequest& request) {
  const ModelConfig& config = model.config();
  Work work{.spec = {.model_fingerprint = model.fingerprint(),
                     .layers = request.layers,
                     .n_head = config.n_head,
                     .head_dim = config.head_dim(),
                     .leading = request.leading,
                     .dtype = request.dtype,
                     .weights = model.weight_type()},
            .commit = {.labels = request.labels, .metadata = request.metadata}};
  CutIntoWindows(request.tokens, static_cast<size_t>(config.n_ctx) - request.leading.size(), request.source,
                 work.windows);
  work.open = [&store, &request, spec = work.spec](const std::vector<PlannedWindow>& planned) {
    return request.replace ? store.Replace(request.name, spec, planned)
                           : store.Create(request.name, spec, planned);
  };
  return work;
}

Work Revise(MemoryStore& store, std::shared_ptr<const Memory> base, Revision revision) {
  Work work{.spec = base->spec(), .base = base, .windows = std::move(revision.windows)};
  work.open = [&store, base, run = revision.run](const std::vector<PlannedWindow>& planned) {
    return store.Revise(base, run, planned);
  };
  return work;
}

// Loads it where it is not resident.
MadeMemory LoadBase(MemoryStore& store, const Model& model, const std::string& reference) {
  const auto record = FindBase(store, model, reference);
  if (!record.ok()) return record.status();
  return store.Get(absl::StrCat((*record)->info.name, "@", (*record)->info.digest));
}

absl::StatusOr<Work> Plan(const Model& model, const Tokenizer*, MemoryStore& store,
                          const AppendRequest& request) {
  const MadeMemory base = LoadBase(store, model, request.memory);
  if (!base.ok()) return base.status();
  const size_t capacity = static_cast<size_t>(model.config().n_ctx) - (*base)->spec().leading.size();
  return Revise(store, *base, PlanAppend(**base, request.tokens, request.source, capacity));
}

absl::StatusOr<Work> Plan(const Model& model, const Tokenizer* tokenizer, MemoryStore& store,
                          const ForgetRequest& request) {
  const MadeMemory base = LoadBase(store, model, request.memory);
  if (!base.ok()) return base.status();
  auto revision = PlanForget(**base, request.content, model.config(), tokenizer);
  if (!revision.ok()) return revision.status();
  Work work = Revise(store, *base, *std::move(revision));
  work.commit.purge_older_versions = request.purge_older_versions;
  return work;
}

// A file may say anything; the fingerprint alone does not make its shape the model's.
bool IsOfModel(const MemorySpec& spec, const Model& model) {
  const ModelConfig& config = model.config();
  const auto in_vocabulary = [&](int32_t token) { return token >= 0 && token < config.vocab_size; };
  return spec.model_fingerprint == model.fingerprint() && spec.n_head == config.n_head &&
         spec.head_dim == config.head_dim() && spec.layers.back() <= config.n_layer &&
         std::cmp_less(spec.leading.size(), config.n_ctx) && std::ranges::all_of(spec.leading, in_vocabulary);
}

}  // namespace

MadeMemory MakeMemory(const Model& model, const Tokenizer* tokenizer, MemoryStore& store,
                      const WriteRequest& request, const MakeHooks& hooks) {
  if (absl::Status status = hooks.check(); !status.ok()) return status;
  absl::StatusOr<Work> work =
      std::visit([&](const auto& change) { return Plan(model, tokenizer, store, change); }, request.change);
  if (!work.ok()) return work.status();
  work->commit.request_id = request.request_id;
  return Carry(model, hooks, *work);
}

MadeMemory MakeMemory(const Model& model, MemoryStore& store, const CreateRequest& request) {
  const auto step = [&](Sequence& sequence) {
    Sequence* const batch[] = {&sequence};
    return model.Step(batch);
  };
  return MakeMemory(
      model, nullptr, store, {.change = request},
      {.step = step, .check = [] { return absl::OkStatus(); }, .progress = [](int64_t, int64_t) {}});
}

absl::StatusOr<std::shared_ptr<const MemoryRecord>> FindBase(const MemoryStore& store, const Model& model,
                                                             const std::string& reference) {
  const auto parsed = ParseMemoryReference(reference);
  if (!parsed.ok()) return parsed.status();
  auto record = store.Find(parsed->name);
  if (!record.ok()) return record.status();
  const MemoryInfo& info = (*record)->info;
  if (!info.digest.starts_with(parsed->digest)) {
    return absl::FailedPreconditionError(absl::StrCat(reference, " is not the current version of memory ",
                                                      info.name, ", which is ", info.name, "@", info.digest));
  }
  if ((*record)->state == MemoryState::kQuarantined) return absl::DataLossError((*record)->reason);
  if (!IsOfModel(info.spec, model)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "memory ", info.name, " was made by another model, ", info.spec.model_fingerprint.substr(0, 12),
        "...; this server holds ", model.fingerprint().substr(0, 12), "..."));
  }
  if (info.spec.weights != model.weight_type()) {
    return absl::FailedPreconditionError(
        absl::StrCat("memory ", info.name, " was made with ", NameOf(info.spec.weights),
                     " weights, and would be changed with ", NameOf(model.weight_type()), " ones"));
  }
  return record;
}

}  // namespace mtm
