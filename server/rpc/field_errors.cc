// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/field_errors.h"

#include <charconv>
#include <cmath>
#include <iterator>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/status.h"

namespace mtm {
namespace {

constexpr size_t kMaxFieldBytes = 100;
constexpr size_t kMaxDescriptionBytes = 400;
// Of all violations together; status.cc has the arithmetic.
constexpr size_t kMaxBytes = 1500;

// The fewest digits that say which number it is.
std::string Shortest(double value) {
  if (std::trunc(value) == value && std::abs(value) < 1e15) return absl::StrCat(static_cast<int64_t>(value));
  char digits[32];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
  return {digits, end};
}

std::string Words(const Range& range) {
  const bool bounded = std::isfinite(range.high);
  const std::string low = Shortest(range.low);
  const std::string high = Shortest(range.high);
  if (range.above_low) return absl::StrCat("above ", low, bounded ? " and at most " + high : "");
  return bounded ? absl::StrCat(low, " to ", high) : absl::StrCat("at least ", low);
}

}  // namespace

void FieldErrors::Add(const std::string& field, const std::string& description) {
  const std::string short_field = Shorten(field, kMaxFieldBytes);
  const std::string short_description = Shorten(description, kMaxDescriptionBytes);
  bytes_ += short_field.size() + short_description.size();
  if (bytes_ > kMaxBytes) {
    ++left_out_;
    return;
  }
  auto& violation = *bad_request_.add_field_violations();
  violation.set_field(short_field);
  violation.set_description(short_description);
}

absl::Status FieldErrors::ToStatus() const {
  if (empty()) return absl::OkStatus();
  const auto& first = bad_request_.field_violations(0);
  std::string message = absl::StrCat(first.field(), ": ", first.description());
  const int others = bad_request_.field_violations_size() - 1 + left_out_;
  if (others > 0) absl::StrAppend(&message, " (and ", others, " more)");
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kBadRequestType, absl::Cord(bad_request_.SerializeAsString()));
  return status;
}

absl::Status FieldError(const std::string& field, const std::string& description) {
  FieldErrors errors;
  errors.Add(field, description);
  return errors.ToStatus();
}

void CheckNumber(const std::string& field, double value, const Range& range, FieldErrors& errors) {
  const bool inside = range.above_low ? value > range.low : value >= range.low;
  if (std::isfinite(value) && inside && value <= range.high) return;
  errors.Add(field, absl::StrCat("is ", Shortest(value), "; must be ", Words(range)));
}

}  // namespace mtm
