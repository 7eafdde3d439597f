// SPDX-License-Identifier: Apache-2.0
#include "memory_store/file_system.h"

#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(FileSystemTest, ErrorSaysWhatPathAndCause) {
  const absl::Status status = StatusFromErrno(ENOSPC, "write", "/memories/x");
  EXPECT_EQ(status, absl::ResourceExhaustedError("cannot write /memories/x: No space left on device"));
  for (const int error : {EDQUOT, EMFILE, ENFILE}) {
    EXPECT_TRUE(absl::IsResourceExhausted(StatusFromErrno(error, "", ""))) << error;
  }
  for (const int error : {EACCES, EPERM, EROFS, ENOTDIR}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(StatusFromErrno(error, "", ""))) << error;
  }
  EXPECT_TRUE(absl::IsNotFound(StatusFromErrno(ENOENT, "", "")));
  EXPECT_TRUE(absl::IsAlreadyExists(StatusFromErrno(EEXIST, "", "")));
  EXPECT_TRUE(absl::IsInternal(StatusFromErrno(EIO, "", "")));
}

TEST(FileSystemTest, PathIsAddedOnce) {
  const absl::Status bare = absl::DataLossError("it is cut");
  EXPECT_EQ(WithPath(bare, "/a/b").message(), "/a/b: it is cut");
  EXPECT_EQ(WithPath(WithPath(bare, "/a/b"), "/a/b").message(), "/a/b: it is cut");
  EXPECT_TRUE(WithPath(absl::OkStatus(), "/a/b").ok());
}

TEST(FileSystemTest, FileIsWrittenReadAndMapped) {
  FileSystem& file_system = *PosixFileSystem();
  const std::filesystem::path path = FreshPath("folder") / "in" / "file";
  ASSERT_TRUE(file_system.CreateFolder(path.parent_path()).ok());
  EXPECT_TRUE(file_system.CreateFolder(path.parent_path()).ok());
  auto file = file_system.CreateFile(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(absl::IsAlreadyExists(file_system.CreateFile(path).status()));
  const std::string text = "hello";
  ASSERT_TRUE((*file)->WriteAt(3, std::as_bytes(std::span(text))).ok());
  ASSERT_TRUE((*file)->Allocate(1000).ok());
  EXPECT_TRUE((*file)->Sync().ok());
  EXPECT_EQ(*(*file)->Size(), 8u);

  std::vector<std::byte> bytes(5);
  ASSERT_TRUE((*file)->ReadAt(3, bytes).ok());
  EXPECT_EQ(bytes[0], std::byte{'h'});
  const absl::Status past = (*file)->ReadAt(4, bytes);
  EXPECT_EQ(past.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(past.message()), HasSubstr("ends at byte 8"));

  const std::unique_ptr<FileMapping> mapping = *(*file_system.OpenFile(path))->Map();
  ASSERT_TRUE(file_system.Remove(path).ok());
  EXPECT_EQ(mapping->bytes().size(), 8u);
  EXPECT_EQ(mapping->bytes()[7], std::byte{'o'});
  EXPECT_TRUE(absl::IsNotFound(file_system.OpenFile(path).status()));
}

TEST(FileSystemTest, FolderIsListedInOrderAndRenamesReplace) {
  FileSystem& file_system = *PosixFileSystem();
  const std::filesystem::path folder = FreshPath("folder");
  ASSERT_TRUE(file_system.CreateFolder(folder).ok());
  for (const char* name : {"b", "a", "c"}) WriteAll(folder / name, name);
  EXPECT_THAT(*file_system.ListFolder(folder), ElementsAre("a", "b", "c"));
  ASSERT_TRUE(file_system.Rename(folder / "a", folder / "b").ok());
  EXPECT_THAT(*file_system.ListFolder(folder), ElementsAre("b", "c"));
  EXPECT_EQ(ReadAll(folder / "b"), "a");
  EXPECT_TRUE(file_system.SyncFolder(folder).ok());
  EXPECT_TRUE(absl::IsNotFound(file_system.ListFolder(folder / "no").status()));
}

TEST(FileSystemTest, PermissionIsNamed) {
  if (geteuid() == 0) GTEST_SKIP() << "root may do everything";
  const std::filesystem::path folder = FreshPath("folder");
  std::filesystem::create_directory(folder);
  std::filesystem::permissions(folder,
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  const absl::Status status = PosixFileSystem()->CreateFile(folder / "x").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Permission denied"));
}

TEST(FileSystemTest, LockIsHeldByOneUntilItGoes) {
  FileSystem& file_system = *PosixFileSystem();
  const std::filesystem::path path = FreshPath("LOCK");
  auto first = file_system.Lock(path);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(absl::IsFailedPrecondition(file_system.Lock(path).status()));
  first->reset();
  EXPECT_TRUE(file_system.Lock(path).ok());
}

}  // namespace
}  // namespace mtm
