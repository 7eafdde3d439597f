// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_MEMORY_STORE_LISTENERS_H_
#define MTM_MEMORY_STORE_LISTENERS_H_

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace mtm {

// Functions to be called when something happened. Thread-safe.
class Listeners {
 public:
  // Ends with the handle, whose end waits for a call under way.
  std::shared_ptr<void> Add(std::function<void()> call);
  void Call();

 private:
  struct Listener {
    std::mutex mutex;
    std::function<void()> call;  // empty: ended
  };

  std::mutex mutex_;
  std::vector<std::shared_ptr<Listener>> listeners_;
};

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_LISTENERS_H_
