// SPDX-License-Identifier: Apache-2.0
#include "server/quota_option.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

[[noreturn]] void BadQuota(const std::string& quota, const std::string& reason) {
  throw CLI::ValidationError("--quota", absl::StrCat("'", quota, "': ", reason));
}

// "team:memories=10,tokens=1000000,bytes=5GiB"; what is not named is not limited.
void AddQuota(const std::string& text, StoreOptions& options) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) BadQuota(text, "must be NAMESPACE:memories=N,tokens=N,bytes=N");
  const std::string name = text.substr(0, colon);
  if (!name.empty() && name != "*" && (name.find('/') != std::string::npos || !CheckMemoryName(name).ok())) {
    BadQuota(text, "the namespace must be the first part of a name, empty for names without one, or *");
  }
  NamespaceQuota quota;
  const std::map<std::string, int64_t*> limits = {
      {"memories", &quota.max_memories}, {"tokens", &quota.max_tokens}, {"bytes", &quota.max_bytes}};
  if (colon + 1 == text.size()) BadQuota(text, "limits are memories, tokens and bytes");
  for (const std::string& part : CLI::detail::split(text.substr(colon + 1), ',')) {
    const size_t equals = std::min(part.find('='), part.size());
    const auto limit = limits.find(part.substr(0, equals));
    if (limit == limits.end()) BadQuota(text, "limits are memories, tokens and bytes");
    std::string value = part.substr(std::min(equals + 1, part.size()));
    const bool is_number =
        !value.empty() && value[0] >= '0' && value[0] <= '9';  // SizeValue() throws for others
    if (!is_number || !SizeValue()(value).empty() || !absl::SimpleAtoi(value, limit->second) ||
        *limit->second < 0) {
      BadQuota(text, absl::StrCat(limit->first, " must be a number from 0 on, as 1000 or 5GiB"));
    }
  }
  if (name == "*") {
    options.quotas.others = quota;
  } else {
    options.quotas.of[name] = quota;
  }
}

}  // namespace

CLI::AsSizeValue SizeValue() { return CLI::AsSizeValue(/*kb_is_1000=*/true); }

void AddQuotaOption(CLI::App& app, StoreOptions& options) {
  app.add_option_function<std::vector<std::string>>(
         "--quota",
         [&options](const std::vector<std::string>& quotas) {
           for (const std::string& quota : quotas) AddQuota(quota, options);
         },
         "What a namespace may hold; `*` is each that has no quota of its own. Repeatable")
      ->type_name("NAMESPACE:memories=N,tokens=N,bytes=N");
}

}  // namespace mtm
