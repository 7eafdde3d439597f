// SPDX-License-Identifier: Apache-2.0
// The writing operations of a memory service, and what each must come to: a model of the store, without files
// or numbers.
#ifndef MTM_TESTS_STRESS_OPERATION_H_
#define MTM_TESTS_STRESS_OPERATION_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "mtm/v1/memory.pb.h"
#include "tests/stress/content.h"

namespace mtm {

inline constexpr size_t kMaxVersions = 5;

struct ExpectedMemory {
  std::vector<Content> versions;  // oldest first, the current one last
  std::map<std::string, std::string> labels;
  std::string note;  // the metadata's only field

  const Content& current() const { return versions.back(); }
};

using Names = std::map<std::string, ExpectedMemory>;

struct Operation {
  enum class Kind {
    kCreate,
    kReplace,
    kAppend,
    kForgetTokens,
    kForgetSource,
    kRollback,
    kCopy,
    kUpdate,
    kDelete,
    kImport,
    kRebuildIndex
  };
  Kind kind = Kind::kCreate;
  std::string name;
  std::string request_id;  // empty: none
  bool detached = false;

  std::vector<int32_t> tokens;                // create, replace and append; without the leading one
  Settings settings;                          // create and replace
  std::string source;                         // label of the tokens, or of what is forgotten
  int64_t first = 0, count = 0;               // forget
  bool purge_older_versions = false;          // forget
  std::string from;                           // copy and import: another name
  size_t version = 0;                         // rollback, copy and import: which one of its versions
  std::map<std::string, std::string> labels;  // create, update and import
  std::string note;                           // update
};

const char* NameOf(Operation::Kind kind);

// All names after the operation, which must be possible. `window`: tokens of a window besides the leading
// ones.
Names Apply(Names names, const Operation& operation, size_t window);

// Draws operations that must succeed. The names that it uses begin with `prefix`.
class RandomOperations {
 public:
  RandomOperations(uint64_t seed, std::string prefix, Settings settings, int vocabulary_size)
      : random_(seed),
        prefix_(std::move(prefix)),
        settings_(std::move(settings)),
        vocabulary_size_(vocabulary_size) {}

  Operation Next(const Names& names);
  // 0 <= result < n.
  size_t Draw(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

 private:
  std::vector<int32_t> Tokens(size_t most);
  std::string NewRequestId();
  Operation Make(const std::string& name, const Names& names);
  Operation Change(const std::string& name, const Names& names);

  std::mt19937_64 random_;
  const std::string prefix_;
  const Settings settings_;
  const int vocabulary_size_;
};

// How what a server says of a memory differs from what must be; nothing where it does not.
std::optional<std::string> Difference(const ExpectedMemory& expected, const v1::Memory& memory);

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_OPERATION_H_
