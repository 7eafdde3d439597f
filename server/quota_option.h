// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_QUOTA_OPTION_H_
#define MTM_SERVER_QUOTA_OPTION_H_

#include <CLI/CLI.hpp>

#include "memory_store/memory_store.h"

namespace mtm {

// 8GiB is 2^33, 8GB 8 * 10^9.
CLI::AsSizeValue SizeValue();

// --quota, which adds to `options`; these outlive the parsing.
void AddQuotaOption(CLI::App& app, StoreOptions& options);

}  // namespace mtm

#endif  // MTM_SERVER_QUOTA_OPTION_H_
