// SPDX-License-Identifier: Apache-2.0
// Every call of every operation fails once, each in turn. After reopening, the state before or the state
// after is there, whole; what was reported done is done; nothing else is left in the folder.
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/memory_store.h"
#include "spdlog/spdlog.h"
#include "tests/memory_store/test_memory.h"
#include "tests/support/faulty_file_system.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class FaultTest : public testing::TestWithParam<std::tuple<Fault, bool>> {
 protected:
  FaultTest() { spdlog::set_level(spdlog::level::off); }  // each fault logs, as it should
  ~FaultTest() override { spdlog::set_level(spdlog::level::info); }

  using Operation = std::function<absl::Status(MemoryStore&)>;

  // The store before each operation: "cats" and "pets" share their content, "dogs" has its own.
  void Prepare() {
    std::filesystem::remove_all(root_);
    const std::unique_ptr<MemoryStore> store = Open();
    ASSERT_TRUE(cats_.CreateIn(*store, "cats").ok());
    ASSERT_TRUE(cats_.CreateIn(*store, "pets").ok());
    ASSERT_TRUE(dogs_.CreateIn(*store, "dogs").ok());
  }

  std::unique_ptr<MemoryStore> Open() {
    auto store = MemoryStore::Open(root_, &file_system_);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

  void Arm(int n) { file_system_.Arm(n, std::get<0>(GetParam()), std::get<1>(GetParam())); }

  // What the store must hold, and nothing beside it.
  void ExpectHolds(const MemoryStore& store,
                   const std::vector<std::pair<std::string, const TestMemory*>>& all) {
    EXPECT_THAT(store.ListDamaged(), IsEmpty());
    EXPECT_EQ(store.List().size(), all.size());
    std::vector<std::string> files;
    for (const auto& [name, content] : all) {
      const auto memory = store.Get(name);
      ASSERT_TRUE(memory.ok()) << memory.status();
      EXPECT_TRUE(content->IsIn(**memory)) << name;
      files.push_back((*memory)->info().digest + ".mtm");
    }
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
    EXPECT_EQ(FilesIn(root_ / "objects"), files);
    EXPECT_THAT(FilesIn(root_), ElementsAre("LOCK", "MANIFEST", "objects"));
  }

  // Runs the operation with fault after fault. `subject` is the memory that it makes or removes.
  void Sweep(const Operation& operation, const std::string& subject, bool there_after,
             std::vector<std::pair<std::string, const TestMemory*>> others, const TestMemory& content) {
    int n = 1;
    for (;; ++n) {
      SCOPED_TRACE("call " + std::to_string(n));
      Prepare();
      std::unique_ptr<MemoryStore> store = Open();
      Arm(n);
      const absl::Status status = operation(*store);
      const bool untouched = file_system_.n_failed() == 0;
      file_system_.Disarm();
      if (untouched) {
        ASSERT_TRUE(status.ok()) << status;
      }
      // The running store shows the new state only where it reported success.
      EXPECT_EQ(store->Get(subject).ok(), status.ok() ? there_after : !there_after) << status;
      store.reset();

      store = Open();
      const bool there = store->Get(subject).ok();
      if (status.ok()) {
        EXPECT_EQ(there, there_after);
      }
      auto expected = others;
      if (there) expected.emplace_back(subject, &content);
      ExpectHolds(*store, expected);
      // What failed works when the disk does.
      if (there != there_after) {
        EXPECT_TRUE(operation(*store).ok());
      }
      if (HasFailure() || untouched) break;
    }
    std::printf("%d points of failure\n", n - 1);
  }

  const std::filesystem::path root_ = FreshPath();
  FaultyFileSystem file_system_;
  const TestMemory cats_{1}, dogs_{2}, birds_{3};
};

TEST_P(FaultTest, CreateLeavesTheOldStateOrTheNew) {
  Sweep([&](MemoryStore& store) { return birds_.CreateIn(store, "birds", 4).status(); }, "birds", true,
        {{"cats", &cats_}, {"pets", &cats_}, {"dogs", &dogs_}}, birds_);
}

TEST_P(FaultTest, CreateOfContentThatIsThereLeavesTheOldStateOrTheNew) {
  Sweep([&](MemoryStore& store) { return dogs_.CreateIn(store, "wolves", 4).status(); }, "wolves", true,
        {{"cats", &cats_}, {"pets", &cats_}, {"dogs", &dogs_}}, dogs_);
}

TEST_P(FaultTest, DeleteLeavesTheOldStateOrTheNew) {
  Sweep([&](MemoryStore& store) { return store.Delete("dogs"); }, "dogs", false,
        {{"cats", &cats_}, {"pets", &cats_}}, dogs_);
}

TEST_P(FaultTest, DeleteOfOneNameOfTwoLeavesTheOther) {
  Sweep([&](MemoryStore& store) { return store.Delete("cats"); }, "cats", false,
        {{"pets", &cats_}, {"dogs", &dogs_}}, cats_);
}

TEST_P(FaultTest, RunningStoreGoesOnAfterAFault) {
  for (int n = 1;; ++n) {
    SCOPED_TRACE("call " + std::to_string(n));
    Prepare();
    std::unique_ptr<MemoryStore> store = Open();
    Arm(n);
    const bool created = birds_.CreateIn(*store, "birds").ok();
    const bool deleted = store->Delete("dogs").ok();
    const bool untouched = file_system_.n_failed() == 0;
    file_system_.Disarm();
    if (!created) {
      ASSERT_TRUE(birds_.CreateIn(*store, "birds").ok());
    }
    if (!deleted) {
      ASSERT_TRUE(store->Delete("dogs").ok());
    }
    store.reset();
    store = Open();
    ExpectHolds(*store, {{"cats", &cats_}, {"pets", &cats_}, {"birds", &birds_}});
    if (HasFailure() || untouched) break;
  }
}

TEST_P(FaultTest, OpenThatFailsLosesNothing) {
  for (int n = 1;; ++n) {
    SCOPED_TRACE("call " + std::to_string(n));
    Prepare();
    WriteAll(root_ / "objects" / (std::string(32, '0') + ".tmp"), "unfinished");
    Arm(n);
    MemoryStore::Open(root_, &file_system_).status().IgnoreError();
    const bool untouched = file_system_.n_failed() == 0;
    file_system_.Disarm();
    const std::unique_ptr<MemoryStore> store = Open();
    ExpectHolds(*store, {{"cats", &cats_}, {"pets", &cats_}, {"dogs", &dogs_}});
    if (HasFailure() || untouched) break;
  }
}

TEST_P(FaultTest, FirstOpenThatFailsCanBeRepeated) {
  for (int n = 1;; ++n) {
    SCOPED_TRACE("call " + std::to_string(n));
    std::filesystem::remove_all(root_);
    Arm(n);
    MemoryStore::Open(root_, &file_system_).status().IgnoreError();
    const bool untouched = file_system_.n_failed() == 0;
    file_system_.Disarm();
    const std::unique_ptr<MemoryStore> store = Open();
    ExpectHolds(*store, {});
    if (HasFailure() || untouched) break;
  }
}

TEST_P(FaultTest, FailedWriteSpendsTheWriterAndSaysWhy) {
  Prepare();
  std::unique_ptr<MemoryStore> store = Open();
  auto writer = store->Create("birds", birds_.spec);
  ASSERT_TRUE(writer.ok());
  Arm(1);
  const absl::Status first = (*writer)->BeginWindow(birds_.tokens);
  file_system_.Disarm();
  const bool io_error =
      std::get<0>(GetParam()) == Fault::kIoError || std::get<0>(GetParam()) == Fault::kErrorAfter;
  EXPECT_EQ(first.code(), io_error ? absl::StatusCode::kInternal : absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(first.message()), testing::HasSubstr(root_.string()));
  EXPECT_EQ((*writer)->BeginWindow(birds_.tokens), first);
  EXPECT_EQ((*writer)->Write(2, 0, birds_.keys[0], birds_.values[0]), first);
  EXPECT_EQ((*writer)->Commit().status(), first);
}

std::string NameOfParameters(const testing::TestParamInfo<std::tuple<Fault, bool>>& info) {
  const char* const names[] = {"IoError", "DiskFull", "ShortWrite", "ErrorAfter"};
  return std::string(names[static_cast<int>(std::get<0>(info.param))]) +
         (std::get<1>(info.param) ? "ForEver" : "Once");
}

INSTANTIATE_TEST_SUITE_P(AllFaults, FaultTest,
                         testing::Combine(testing::Values(Fault::kIoError, Fault::kDiskFull,
                                                          Fault::kShortWrite, Fault::kErrorAfter),
                                          testing::Bool()),
                         NameOfParameters);

}  // namespace
}  // namespace mtm
