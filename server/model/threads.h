// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_THREADS_H_
#define MTM_SERVER_MODEL_THREADS_H_

namespace mtm {

// Threads of a forward pass on the CPU; without a call, one a core. To be called before the first model is loaded.
void SetModelThreads(int n_threads);
int ModelThreads();

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_THREADS_H_
