// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/memory_store.h"
#include "memory_store/reference_reader.h"
#include "server/commands/commands.h"
#include "server/model/model.h"

namespace mtm {
namespace {

absl::Status CheckShape(const ReferenceMemory& memory, const ModelConfig& config) {
  if (memory.n_layer == config.n_layer && memory.n_head == config.n_head &&
      memory.head_dim == config.head_dim()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the memory has ", memory.n_layer, " layers, ", memory.n_head, " heads of ",
                   memory.head_dim, "; the model has ", config.n_layer, " layers, ", config.n_head,
                   " heads of ", config.head_dim(), ": another model made it"));
}

// The reference ran a newline and then the text, and dropped the newline's row.
struct ReferenceTokens {
  std::vector<int32_t> newline;
  std::vector<int32_t> text;  // of the rows
};

// The tokens, which the reference does not keep.
absl::StatusOr<ReferenceTokens> TokensOf(const ReferenceMemory& memory, const ImportOptions& options) {
  auto tokenizer = LoadTokenizer(options.model);
  if (!tokenizer.ok()) return tokenizer.status();
  if (*tokenizer == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        options.model.string(), " has no tokenizer, and the memory's token ids come from its text"));
  }
  auto newline = (*tokenizer)->Encode("\n");
  if (!newline.ok()) return newline.status();
  auto text = (*tokenizer)->Encode(memory.text);
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat("the text: ", text.status().message()));
  if (std::cmp_equal(text->size(), memory.n_tokens)) {
    return ReferenceTokens{*std::move(newline), *std::move(text)};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the memory has rows for ", memory.n_tokens, " tokens, and its text has ", text->size(),
                   " in this model's tokenizer: the text or the tokenizer is another one"));
}

absl::StatusOr<std::shared_ptr<const Memory>> Write(const ReferenceMemory& memory, const Model& model,
                                                    const ReferenceTokens& tokens, const std::string& name,
                                                    MemoryStore& store) {
  MemorySpec spec{.model_fingerprint = model.fingerprint(),
                  .layers = std::vector<int>(static_cast<size_t>(memory.n_layer)),
                  .n_head = memory.n_head,
                  .head_dim = memory.head_dim,
                  .leading = tokens.newline};
  std::iota(spec.layers.begin(), spec.layers.end(), 1);
  const auto writer = store.Create(name, spec, {{.n_tokens = memory.n_tokens}});
  if (!writer.ok()) return writer.status();
  absl::Status status = (*writer)->BeginWindow(tokens.text);
  for (int layer = 1; layer <= memory.n_layer; ++layer) {
    for (int head = 0; head < memory.n_head && status.ok(); ++head) {
      status = (*writer)->Write(layer, head, memory.keys(layer, head), memory.values(layer, head));
    }
  }
  if (!status.ok()) return status;
  return (*writer)->Commit();
}

}  // namespace

absl::Status ImportReference(const ImportOptions& options) {
  SetUpLog("warning");
  const auto reference = ReadReferenceMemory(options.reference);
  if (!reference.ok()) return reference.status();
  const auto model = Model::Load(options.model);
  if (!model.ok()) return model.status();
  const absl::Status shape = CheckShape(*reference, (*model)->config());
  if (!shape.ok()) return shape;
  const auto tokens = TokensOf(*reference, options);
  if (!tokens.ok()) return tokens.status();
  const auto store = MemoryStore::Open(options.store);
  if (!store.ok()) return store.status();
  const std::string name = options.name.empty() ? FolderName(options.reference) : options.name;
  const auto memory = Write(*reference, **model, *tokens, name, **store);
  if (!memory.ok()) return memory.status();
  const MemoryInfo& info = (*memory)->info();
  std::cout << info.name << "@" << info.digest << " tokens=" << info.n_tokens
            << " layers=" << info.spec.layers.size() << " bytes=" << info.size_bytes << "\n";
  return absl::OkStatus();
}

}  // namespace mtm
