// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/monitoring_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

using ::testing::HasSubstr;

class MonitoringServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = MonitoringServer::Start("127.0.0.1:0", registry_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  httplib::Result Get(const std::string& path) {
    return httplib::Client("127.0.0.1", server_->port()).Get(path);
  }

  MetricsRegistry registry_;
  std::unique_ptr<MonitoringServer> server_;
};

TEST_F(MonitoringServerTest, ServesMetricsAsPrometheusAsksForThem) {
  registry_.AddCounter("tokens_total", "Tokens.").With({}).Add(7);
  const auto answer = Get("/metrics");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(answer->body, registry_.Scrape());
}

TEST_F(MonitoringServerTest, IsHealthyFromTheStartAndReadyWhenTold) {
  EXPECT_EQ(Get("/healthz")->status, 200);
  EXPECT_EQ(Get("/readyz")->status, 503);
  server_->SetReady(true);
  EXPECT_EQ(Get("/readyz")->status, 200);
  server_->SetReady(false);
  EXPECT_EQ(Get("/readyz")->status, 503);
  EXPECT_EQ(Get("/healthz")->status, 200);
}

TEST_F(MonitoringServerTest, KnowsNothingElse) {
  EXPECT_EQ(Get("/")->status, 404);
  EXPECT_EQ(Get("/metricsx")->status, 404);
  EXPECT_EQ(httplib::Client("127.0.0.1", server_->port()).Post("/metrics", "x", "text/plain")->status, 413);
}

TEST_F(MonitoringServerTest, IdleConnectionsKeepNobodyOut) {
  std::vector<std::unique_ptr<httplib::Client>> idle;
  for (int i = 0; i < 8; ++i) {
    idle.push_back(std::make_unique<httplib::Client>("127.0.0.1", server_->port()));
    idle.back()->set_keep_alive(true);
    ASSERT_TRUE(idle.back()->Get("/healthz"));
  }
  EXPECT_EQ(Get("/healthz")->status, 200);
}

TEST_F(MonitoringServerTest, AnswersManyAtOnce) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto answer = Get("/metrics");
      EXPECT_TRUE(answer && answer->status == 200);
    });
  }
}

TEST_F(MonitoringServerTest, APortThatIsTakenIsRefused) {
  const std::string address = absl::StrCat("127.0.0.1:", server_->port());
  const auto second = MonitoringServer::Start(address, registry_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(address + ": no such address here, or it is in use"));
  server_.reset();
  EXPECT_TRUE(MonitoringServer::Start(address, registry_).ok());
}

TEST_F(MonitoringServerTest, AddressesAreChecked) {
  for (const char* address :
       {"", "9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "192.0.2.1:0"}) {
    EXPECT_EQ(MonitoringServer::Start(address, registry_).status().code(), absl::StatusCode::kInvalidArgument)
        << address;
  }
}

}  // namespace
}  // namespace mtm
