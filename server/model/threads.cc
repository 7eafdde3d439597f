// SPDX-License-Identifier: Apache-2.0
#include "server/model/threads.h"

#include <ATen/Parallel.h>

namespace mtm {

void SetModelThreads(int n_threads) { at::set_num_threads(n_threads); }
int ModelThreads() { return at::get_num_threads(); }

}  // namespace mtm
