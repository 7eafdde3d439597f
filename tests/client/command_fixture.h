// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_CLIENT_COMMAND_FIXTURE_H_
#define MTM_TESTS_CLIENT_COMMAND_FIXTURE_H_

#include <unistd.h>

#include <sstream>
#include <stop_token>
#include <string>
#include <vector>

#include "client/commands/app.h"
#include "gtest/gtest.h"
#include "tests/support/fake_service.h"

namespace mtm::client {

// Runs whole commands in this process against the fake server.
class CommandTest : public testing::Test {
 protected:
  int Run(std::vector<std::string> arguments, const std::string& input = "") {
    out_.str("");
    err_.str("");
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    EXPECT_EQ(write(ends[1], input.data(), input.size()), static_cast<ssize_t>(input.size()));
    close(ends[1]);
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    const int code = RunMtm(arguments, {out_, err_, ends[0], terminal_, stop_.get_token()});
    close(ends[0]);
    return code;
  }

  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }
  FakeState& state() { return server_.state(); }

  FakeServer server_;
  Terminal terminal_;
  std::stop_source stop_;
  std::ostringstream out_;
  std::ostringstream err_;
};

}  // namespace mtm::client

#endif  // MTM_TESTS_CLIENT_COMMAND_FIXTURE_H_
