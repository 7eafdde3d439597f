// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_FIELD_ERRORS_H_
#define MTM_SERVER_RPC_FIELD_ERRORS_H_

#include <cstddef>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"

namespace mtm {

// What is wrong with a request, all at once: one google.rpc.BadRequest field violation for each fault.
class FieldErrors {
 public:
  // `field` is a path as `memory_uses[1].layers[0]`; `description` gives the value and what would be right.
  void Add(const std::string& field, const std::string& description);

  bool empty() const { return bad_request_.field_violations().empty(); }

  // OK where nothing was added, else INVALID_ARGUMENT whose message names the first fault and whose payload
  // has as many as a trailer can hold.
  absl::Status ToStatus() const;

 private:
  google::rpc::BadRequest bad_request_;
  size_t bytes_ = 0;
  int left_out_ = 0;
};

// The error of one fault.
absl::Status FieldError(const std::string& field, const std::string& description);

struct Range {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool above_low = false;  // `low` itself is outside
};

// Adds an error unless `value` is a finite number within the range.
void CheckNumber(const std::string& field, double value, const Range& range, FieldErrors& errors);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_FIELD_ERRORS_H_
