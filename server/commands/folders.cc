// SPDX-License-Identifier: Apache-2.0
#include "server/commands/commands.h"

namespace mtm {

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::filesystem::path& folder) {
  auto tokenizer = Tokenizer::Load(folder);
  if (absl::IsNotFound(tokenizer.status())) return std::unique_ptr<Tokenizer>();
  return tokenizer;
}

std::string FolderName(const std::filesystem::path& folder) {
  const std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

}  // namespace mtm
