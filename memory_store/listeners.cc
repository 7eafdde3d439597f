// SPDX-License-Identifier: Apache-2.0
#include "memory_store/listeners.h"

#include <utility>

namespace mtm {

std::shared_ptr<void> Listeners::Add(std::function<void()> call) {
  const auto listener = std::make_shared<Listener>();
  listener->call = std::move(call);
  const std::lock_guard lock(mutex_);
  listeners_.push_back(listener);
  return {listener.get(), [listener](void*) {
            const std::lock_guard ended(listener->mutex);
            listener->call = nullptr;
          }};
}

void Listeners::Call() {
  std::vector<std::shared_ptr<Listener>> all;
  {
    const std::lock_guard lock(mutex_);
    all = listeners_;
  }
  std::vector<std::shared_ptr<Listener>> ended;
  for (const std::shared_ptr<Listener>& listener : all) {
    const std::lock_guard lock(listener->mutex);
    if (listener->call) {
      listener->call();
    } else {
      ended.push_back(listener);
    }
  }
  const std::lock_guard lock(mutex_);
  for (const std::shared_ptr<Listener>& listener : ended) std::erase(listeners_, listener);
}

}  // namespace mtm
