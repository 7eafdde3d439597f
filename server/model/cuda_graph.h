// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_CUDA_GRAPH_H_
#define MTM_SERVER_MODEL_CUDA_GRAPH_H_

namespace mtm {

// Makes CUDA's graphs those of at::create_graph_impl(kCUDA), which LibTorch (2.15) has but does not register.
// Nothing where this was compiled without CUDA's headers. Idempotent, thread-safe.
void RegisterCudaGraphs();

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_CUDA_GRAPH_H_
