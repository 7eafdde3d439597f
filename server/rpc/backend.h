// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_BACKEND_H_
#define MTM_SERVER_RPC_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>

#include "memory_store/memory_store.h"
#include "server/generation/engine.h"
#include "server/generation/memory_maker.h"
#include "server/rpc/model_info.h"
#include "server/rpc/rpc_calls.h"
#include "server/rpc/worker.h"

namespace mtm {

// What the services stand on. All of it is thread-safe and outlives them.
struct Backend {
  const Model& model;
  std::string model_name;
  ModelInfo info;
  MemoryStore& store;
  Engine& engine;
  MemoryMaker& maker;
  RpcCalls& calls;

  // Two, so that whoever only waits for a memory to be loaded does not stand behind passes over whole
  // memories.
  Worker& worker;       // seconds at most: long texts, loading, changes, pieces of a transfer
  Worker& long_worker;  // minutes: verification, indexes, the end of an import

  std::stop_token draining;  // nothing new is taken, and streams without an end are ended
  std::stop_token stopping;  // whatever is left is ended
  int64_t max_text_bytes;
  size_t max_queued_messages;  // of a stream, while its reader is slower than the engine
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_BACKEND_H_
