// SPDX-License-Identifier: Apache-2.0
#include "tests/stress/operation.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

using Kind = Operation::Kind;

constexpr std::array<const char*, 4> kNames = {"a", "b", "c", "d"};
constexpr size_t kMostTokens = 150;      // of one text
constexpr int64_t kLargestMemory = 400;  // nothing is appended to it

// Makes it the current version; no content is there twice.
void PushVersion(ExpectedMemory& state, Content content) {
  std::erase(state.versions, content);
  state.versions.push_back(std::move(content));
  if (state.versions.size() > kMaxVersions) state.versions.erase(state.versions.begin());
}

Content Appended(Content content, const Operation& operation, size_t window) {
  const std::vector<Window> more = SplitText(operation.tokens, operation.source, window);
  content.windows.insert(content.windows.end(), more.begin(), more.end());
  return content;
}

}  // namespace

const char* NameOf(Kind kind) {
  constexpr std::array kKinds = {"create", "replace", "append", "forget tokens", "forget source", "rollback",
                                 "copy",   "update",  "delete", "import",        "rebuild index"};
  return kKinds[static_cast<size_t>(kind)];
}

Names Apply(Names names, const Operation& operation, size_t window) {
  ExpectedMemory& state = names[operation.name];
  switch (operation.kind) {
    case Kind::kCreate:
    case Kind::kReplace:
      PushVersion(state, {operation.settings, SplitText(operation.tokens, operation.source, window)});
      if (operation.kind == Kind::kCreate) state.labels = operation.labels;
      break;
    case Kind::kAppend:
      PushVersion(state, Appended(state.current(), operation, window));
      break;
    case Kind::kForgetTokens:
      PushVersion(state, ForgetTokens(state.current(), operation.first, operation.count));
      break;
    case Kind::kForgetSource:
      PushVersion(state, ForgetSource(state.current(), operation.source));
      break;
    case Kind::kRollback:
      PushVersion(state, Content(state.versions[operation.version]));
      break;
    case Kind::kCopy: {
      const ExpectedMemory& from = names.at(operation.from);
      state = {.versions = {from.versions[operation.version]}, .labels = from.labels, .note = from.note};
      break;
    }
    case Kind::kImport:
      state = {.versions = {names.at(operation.from).versions[operation.version]},
               .labels = operation.labels,
               .note = {}};
      break;
    case Kind::kUpdate:
      state.labels = operation.labels;
      state.note = operation.note;
      break;
    case Kind::kDelete:
      names.erase(operation.name);
      return names;
    case Kind::kRebuildIndex:
      break;
  }
  if (operation.purge_older_versions) state.versions.erase(state.versions.begin(), state.versions.end() - 1);
  return names;
}

std::vector<int32_t> RandomOperations::Tokens(size_t most) {
  std::vector<int32_t> tokens(1 + Draw(most));
  for (int32_t& token : tokens) token = static_cast<int32_t>(Draw(static_cast<size_t>(vocabulary_size_)));
  return tokens;
}

std::string RandomOperations::NewRequestId() {
  return absl::StrCat(absl::Hex(random_(), absl::kZeroPad16), absl::Hex(random_(), absl::kZeroPad16));
}

Operation RandomOperations::Next(const Names& names) {
  const std::string name = prefix_ + kNames[Draw(kNames.size())];
  Operation operation = names.contains(name) ? Change(name, names) : Make(name, names);
  operation.name = name;
  // An update and a rebuilt index have no id: twice is as good as once.
  const bool has_id = operation.kind != Kind::kUpdate && operation.kind != Kind::kRebuildIndex;
  if (has_id && Draw(4) != 0) operation.request_id = NewRequestId();
  const bool may_detach = operation.kind <= Kind::kForgetSource;
  operation.detached = may_detach && !operation.request_id.empty() && Draw(4) == 0;
  return operation;
}

Operation RandomOperations::Make(const std::string& name, const Names& names) {
  Operation operation;
  if (!names.empty() && Draw(2) == 0) {
    const auto from = std::next(names.begin(), static_cast<std::ptrdiff_t>(Draw(names.size())));
    operation.kind = Draw(2) == 0 ? Kind::kCopy : Kind::kImport;
    operation.from = from->first;
    operation.version = Draw(from->second.versions.size());
  } else {
    operation.settings = settings_;
    operation.settings.leading = Tokens(1);
    operation.settings.half = Draw(2) == 0;
    operation.tokens = Tokens(kMostTokens);
    operation.source = absl::StrCat("text ", Draw(3));
  }
  if (operation.kind != Kind::kCopy) operation.labels = {{"made", name}, {"number", absl::StrCat(Draw(100))}};
  return operation;
}

Operation RandomOperations::Change(const std::string& name, const Names& names) {
  constexpr std::array kWeighted = {
      Kind::kReplace,      Kind::kReplace,      Kind::kAppend,       Kind::kAppend,      Kind::kAppend,
      Kind::kAppend,       Kind::kForgetTokens, Kind::kForgetTokens, Kind::kRollback,    Kind::kRollback,
      Kind::kForgetSource, Kind::kUpdate,       Kind::kDelete,       Kind::kRebuildIndex};
  const ExpectedMemory& state = names.at(name);
  const Content& content = state.current();
  Operation operation{.kind = kWeighted[Draw(kWeighted.size())]};
  operation.source = absl::StrCat("text ", Draw(3));
  const int64_t n_tokens = content.n_tokens();
  const bool has_other = std::ranges::any_of(
      content.windows, [&](const Window& window) { return window.source != operation.source; });
  const bool has_source = std::ranges::any_of(
      content.windows, [&](const Window& window) { return window.source == operation.source; });
  if ((operation.kind == Kind::kAppend && n_tokens >= kLargestMemory) ||
      (operation.kind == Kind::kForgetTokens && n_tokens < 2) ||
      (operation.kind == Kind::kForgetSource && !(has_other && has_source))) {
    operation.kind = Kind::kReplace;
  }
  switch (operation.kind) {
    case Kind::kReplace:
      operation.settings = settings_;
      operation.settings.leading = Tokens(1);
      operation.settings.half = Draw(2) == 0;
      operation.tokens = Tokens(kMostTokens);
      break;
    case Kind::kAppend:
      operation.tokens = Tokens(kMostTokens);
      break;
    case Kind::kForgetTokens:
      operation.count = 1 + static_cast<int64_t>(Draw(static_cast<size_t>(n_tokens - 1)));
      operation.first = static_cast<int64_t>(Draw(static_cast<size_t>(n_tokens - operation.count + 1)));
      operation.purge_older_versions = Draw(4) == 0;
      break;
    case Kind::kForgetSource:
      operation.purge_older_versions = Draw(4) == 0;
      break;
    case Kind::kRollback:
      operation.version = Draw(state.versions.size());
      break;
    case Kind::kUpdate:
      operation.labels = {{"updated", absl::StrCat(Draw(1000))}};
      operation.note = absl::StrCat("note ", Draw(1000));
      break;
    default:
      break;
  }
  return operation;
}

std::optional<std::string> Difference(const ExpectedMemory& expected, const v1::Memory& memory) {
  const Content& content = expected.current();
  const auto differs = [](const auto& what, const auto& is, const auto& should) {
    return absl::StrCat(what, " is ", is, " instead of ", should);
  };
  if (memory.state() == v1::Memory::STATE_QUARANTINED)
    return absl::StrCat("quarantined: ", memory.state_reason());
  if (memory.token_count() != content.n_tokens())
    return differs("token_count", memory.token_count(), content.n_tokens());
  if (memory.source_digest() != SourceDigest(content)) {
    return differs("source_digest", memory.source_digest(), SourceDigest(content));
  }
  if ((memory.data_type() == v1::DATA_TYPE_F16) != content.settings.half)
    return std::string("another data type");

  std::vector<std::pair<std::string, int64_t>> sources;
  for (const v1::MemorySource& source : memory.sources())
    sources.emplace_back(source.label(), source.token_count());
  if (sources != Sources(content)) return std::string("other sources");
  const std::map<std::string, std::string> labels(memory.labels().begin(), memory.labels().end());
  if (labels != expected.labels) return std::string("other labels");
  const auto note = memory.metadata().fields().find("note");
  const std::string text = note == memory.metadata().fields().end() ? "" : note->second.string_value();
  if (text != expected.note) return differs("the metadata's note", text, expected.note);

  if (memory.versions().empty()) return std::nullopt;  // only GetMemory has them
  if (static_cast<size_t>(memory.versions_size()) != expected.versions.size()) {
    return differs("the number of versions", memory.versions_size(), expected.versions.size());
  }
  for (int i = 0; i < memory.versions_size(); ++i) {
    const v1::MemoryVersion& version = memory.versions(i);
    const std::string should = SourceDigest(expected.versions[static_cast<size_t>(i)]);
    if (version.source_digest() != should) {
      return differs(absl::StrCat("source_digest of version ", i), version.source_digest(), should);
    }
  }
  if (memory.versions().rbegin()->digest() != memory.digest())
    return std::string("the last version is not the current one");
  return std::nullopt;
}

}  // namespace mtm
