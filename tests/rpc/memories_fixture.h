// SPDX-License-Identifier: Apache-2.0
// A server of the small model over a folder of its own, and the rpcs of MemoryService as calls.
#ifndef MTM_TESTS_RPC_MEMORIES_FIXTURE_H_
#define MTM_TESTS_RPC_MEMORIES_FIXTURE_H_

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/rpc/test_server.h"

namespace mtm {

class MemoriesFixture : public testing::Test {
 protected:
  using Stub = v1::MemoryService::Stub;

  // A unary rpc with a request in protobuf's text format.
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                    const std::string& request, Response* response) {
    grpc::ClientContext context;
    return (server_->memories().*rpc)(&context, FromText<Request>(request), response);
  }
  // One that succeeds.
  template <typename Request, typename Response>
  Response Must(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                const std::string& request) {
    Response response;
    const grpc::Status status = Call(rpc, request, &response);
    EXPECT_TRUE(status.ok()) << request << ": " << status.error_message();
    return response;
  }
  // One that fails.
  template <typename Request, typename Response>
  grpc::Status Fails(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                     const std::string& request) {
    Response response;
    grpc::Status status = Call(rpc, request, &response);
    EXPECT_FALSE(status.ok()) << request;
    return status;
  }

  v1::Memory Get(const std::string& name) {
    return Must(&Stub::GetMemory, absl::StrCat("name: '", name, "'"));
  }

  // Closes the server and the folder, and opens both again.
  void Restart(StoreOptions store_options = {}, ServerOptions options = {}) {
    server_ = nullptr;
    store_ = nullptr;
    auto store = MemoryStore::Open(folder_, std::move(store_options));
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    server_ = std::make_unique<TestServer>(SmallModel(), &Gpt2Tokenizer(), *store_, std::move(options));
  }

  std::vector<std::filesystem::path> SegmentFiles() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "segments")) {
      if (entry.path().extension() == ".mtm") files.push_back(entry.path());
    }
    return files;
  }

  const std::filesystem::path folder_ = FreshFolder();
  std::unique_ptr<MemoryStore> store_ = OpenStore(folder_);
  std::unique_ptr<TestServer> server_ = std::make_unique<TestServer>(SmallModel(), &Gpt2Tokenizer(), *store_);
};

}  // namespace mtm

#endif  // MTM_TESTS_RPC_MEMORIES_FIXTURE_H_
