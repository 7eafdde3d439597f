// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_CLIENT_CLIENT_FIXTURE_H_
#define MTM_TESTS_CLIENT_CLIENT_FIXTURE_H_

#include <sstream>
#include <string>
#include <vector>

#include "client/client.h"
#include "gtest/gtest.h"
#include "tests/support/fake_service.h"

namespace mtm::client {

// A client and the fake server; attempts follow each other at once.
class ClientTest : public testing::Test {
 protected:
  static v1::CreateMemoryRequest::Spec Named(const std::string& name) {
    v1::CreateMemoryRequest::Spec spec;
    spec.set_name(name);
    return spec;
  }

  absl::StatusOr<v1::WriteMemoryResponse> Make(const std::string& name, const std::string& text) {
    std::istringstream stream(text);
    return client_.CreateMemory(Named(name), TextReader(stream));
  }

  FakeState& state() { return server_.state(); }

  FakeServer server_;
  std::vector<absl::Status> retries_;
  Client client_{ClientOptions{
      .address = server_.address(),
      .first_retry_delay = absl::Milliseconds(1),
      .on_retry = [this](const absl::Status& status, absl::Duration) { retries_.push_back(status); }}};
};

}  // namespace mtm::client

#endif  // MTM_TESTS_CLIENT_CLIENT_FIXTURE_H_
