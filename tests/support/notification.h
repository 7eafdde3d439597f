// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_NOTIFICATION_H_
#define MTM_TESTS_SUPPORT_NOTIFICATION_H_

#include <condition_variable>
#include <mutex>

namespace mtm {

// absl::Notification in terms that ThreadSanitizer sees: a prebuilt abseil is not instrumented.
class Notification {
 public:
  void Notify() {
    const std::lock_guard lock(mutex_);
    notified_ = true;
    changed_.notify_all();
  }
  void WaitForNotification() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return notified_; });
  }
  bool HasBeenNotified() {
    const std::lock_guard lock(mutex_);
    return notified_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool notified_ = false;
};

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_NOTIFICATION_H_
