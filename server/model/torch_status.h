// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_TORCH_STATUS_H_
#define MTM_SERVER_MODEL_TORCH_STATUS_H_

#include <c10/util/Exception.h>

#include <new>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mtm {

// LibTorch reports by exceptions; none passes server/model's border. `function` returns an absl::Status.
template <typename Function>
absl::Status TorchToStatus(Function&& function) {
  try {
    return std::forward<Function>(function)();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const c10::Error& error) {
    const absl::string_view what = error.what_without_backtrace();
    // The CPU allocator's failure has no type of its own, nor has CUDA's beyond LibTorch's allocator.
    for (const absl::string_view no_room : {"not enough memory", "out of memory"}) {
      if (absl::StrContains(what, no_room)) return absl::ResourceExhaustedError(what);
    }
    return absl::InternalError(absl::StrCat("LibTorch: ", what));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("LibTorch: ", error.what()));
  }
}

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_TORCH_STATUS_H_
