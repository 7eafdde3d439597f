// SPDX-License-Identifier: Apache-2.0
#include "memory_store/reference_reader.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/saved_tensor.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxTextSize = 64 << 20;
constexpr int kMaxParts = 10'000;  // of layers and of heads; only against folders that never end

absl::StatusOr<std::vector<fs::path>> List(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> paths;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) paths.push_back(entry->path());
  if (error) return absl::NotFoundError(absl::StrCat("cannot list ", folder.string(), ": ", error.message()));
  std::sort(paths.begin(), paths.end());
  return paths;
}

// How many of 0, 1, 2, ... (with the extension) are in the folder.
int CountParts(const fs::path& folder, std::string_view extension) {
  int n = 0;
  std::error_code error;
  while (n < kMaxParts && fs::exists(folder / absl::StrCat(n, AbslView(extension)), error)) ++n;
  return n;
}

absl::StatusOr<std::string> ReadText(const fs::path& folder) {
  const absl::StatusOr<std::vector<fs::path>> paths = List(folder);
  if (!paths.ok()) return paths.status();
  std::vector<fs::path> texts;
  std::copy_if(paths->begin(), paths->end(), std::back_inserter(texts),
               [](const fs::path& path) { return path.extension() == ".txt"; });
  const fs::path named = folder / absl::StrCat(fs::canonical(folder).filename().string(), ".txt");
  if (std::find(texts.begin(), texts.end(), named) != texts.end()) texts = {named};
  if (texts.empty())
    return absl::NotFoundError(absl::StrCat(folder.string(), ": there is no NAME.txt in it"));
  if (texts.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder.string(), ": which of its ", texts.size(),
                     " .txt files is the text? None is named as the folder is"));
  }
  std::error_code error;
  const uintmax_t size = fs::file_size(texts[0], error);
  std::ifstream in(texts[0], std::ios::binary);
  if (error || !in || size > kMaxTextSize) {
    return absl::InvalidArgumentError(absl::StrCat(texts[0].string(), ": not a text that can be read"));
  }
  std::string text(size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

// What is wrong with the rows, or nothing.
std::optional<std::string> ProblemOf(const Matrix& matrix, float sentinel) {
  const auto first = matrix.data.begin() + matrix.n_columns;
  if (!std::all_of(matrix.data.begin(), first, [&](float x) { return x == sentinel; })) {
    return absl::StrCat("its row 0 is not the sentinel, all ", sentinel);
  }
  if (!std::all_of(first, matrix.data.end(), [](float x) { return std::isfinite(x); })) {
    return "a row after the sentinel has a number that is not finite";
  }
  if (matrix.n_rows < 2) return "it has no row but the sentinel";
  return std::nullopt;
}

// The rows of one file, of the shape that all have; the first file sets it.
absl::StatusOr<std::vector<float>> ReadRows(const fs::path& path, float sentinel, ReferenceMemory& memory) {
  absl::StatusOr<Matrix> matrix = ReadSavedMatrix(path);
  if (!matrix.ok()) return matrix.status();
  if (const std::optional<std::string> problem = ProblemOf(*matrix, sentinel)) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", *problem));
  }
  if (matrix->n_columns > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": its rows are too long"));
  }
  const int64_t n_tokens = matrix->n_rows - 1;
  if (memory.n_tokens == 0) {
    memory.n_tokens = n_tokens;
    memory.head_dim = static_cast<int>(matrix->n_columns);
  }
  if (n_tokens != memory.n_tokens || matrix->n_columns != memory.head_dim) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": it has ", n_tokens, " rows of ",
                                                   matrix->n_columns, " numbers where the first file has ",
                                                   memory.n_tokens, " of ", memory.head_dim));
  }
  matrix->data.erase(matrix->data.begin(), matrix->data.begin() + matrix->n_columns);
  return std::move(matrix->data);
}

absl::Status CheckCounts(const fs::path& store, const ReferenceMemory& memory) {
  for (int layer = 0; layer < memory.n_layer; ++layer) {
    const fs::path folder = store / absl::StrCat(layer);
    if (const int n = CountParts(folder, ".pt"); n != memory.n_head) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder.string(), ": it has ", n, " heads instead of ", memory.n_head));
    }
  }
  if (fs::exists(store / absl::StrCat(memory.n_layer))) {
    return absl::InvalidArgumentError(
        absl::StrCat(store.string(), ": it has more than ", memory.n_layer, " layers"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ReferenceMemory> ReadReferenceMemory(const fs::path& folder) {
  ReferenceMemory memory;
  const fs::path key_store = folder / "keyStore";
  const fs::path value_store = folder / "valueStore";
  absl::StatusOr<std::string> text = ReadText(folder);
  if (!text.ok()) return text.status();
  memory.text = *std::move(text);
  memory.n_layer = CountParts(key_store, "");
  memory.n_head = CountParts(key_store / "0", ".pt");
  if (memory.n_head == 0) {
    return absl::NotFoundError(absl::StrCat((key_store / "0" / "0.pt").string(), ": there is no such file"));
  }
  for (const fs::path& store : {key_store, value_store}) {
    if (absl::Status status = CheckCounts(store, memory); !status.ok()) return status;
  }
  for (int layer = 0; layer < memory.n_layer; ++layer) {
    for (int head = 0; head < memory.n_head; ++head) {
      const fs::path file = fs::path(absl::StrCat(layer)) / absl::StrCat(head, ".pt");
      absl::StatusOr<std::vector<float>> keys =
          ReadRows(key_store / file, -std::numeric_limits<float>::infinity(), memory);
      if (!keys.ok()) return keys.status();
      absl::StatusOr<std::vector<float>> values = ReadRows(value_store / file, 0, memory);
      if (!values.ok()) return values.status();
      memory.all_keys.push_back(*std::move(keys));
      memory.all_values.push_back(*std::move(values));
    }
  }
  return memory;
}

}  // namespace mtm
