// SPDX-License-Identifier: Apache-2.0
#include "tests/support/power_cut_file_system.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace mtm {
namespace {

using Bytes = std::vector<std::byte>;

struct Write {
  uint64_t number = 0;  // of all writes
  uint64_t offset = 0;
  Bytes data;
};

void Apply(Bytes& bytes, uint64_t offset, std::span<const std::byte> data) {
  bytes.resize(std::max<size_t>(bytes.size(), offset + data.size()));
  std::copy(data.begin(), data.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
}

}  // namespace

// A file or a folder, now and as it was last synced.
struct PowerCutFileSystem::Node {
  using Entries = std::map<std::string, std::shared_ptr<Node>>;
  // One step in one folder; null: the name goes.
  using Change = std::vector<std::pair<std::string, std::shared_ptr<Node>>>;

  bool is_folder = false;
  absl::Time modified = absl::Now();

  std::shared_ptr<Bytes> bytes = std::make_shared<Bytes>();
  std::shared_ptr<const Bytes> synced_bytes = bytes;
  std::vector<Write> writes;  // not synced
  uint64_t allocated = 0;

  Entries entries;
  Entries synced_entries;
  std::vector<Change> changes;  // not synced

  static void Apply(Entries& entries, const Change& change) {
    for (const auto& [name, node] : change) {
      if (node == nullptr) {
        entries.erase(name);
      } else {
        entries[name] = node;
      }
    }
  }
  void Apply(Change change) {
    Apply(entries, change);
    changes.push_back(std::move(change));
    modified = absl::Now();
  }
};

class PowerCutFileSystem::MemoryFile : public File {
 public:
  MemoryFile(PowerCutFileSystem& parent, std::filesystem::path path, std::shared_ptr<Node> node)
      : parent_(parent), path_(std::move(path)), node_(std::move(node)) {}

  absl::StatusOr<uint64_t> Size() const override {
    const std::lock_guard lock(parent_.mutex_);
    return node_->bytes->size();
  }

  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    const std::lock_guard lock(parent_.mutex_);
    const Bytes& bytes = *node_->bytes;
    if (offset + out.size() > bytes.size()) {
      return absl::DataLossError(absl::StrCat(path_.string(), " ends at byte ", bytes.size()));
    }
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return absl::OkStatus();
  }

  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> data) override {
    {
      const std::lock_guard lock(parent_.mutex_);
      const uint64_t before = std::max<uint64_t>(node_->bytes->size(), node_->allocated);
      const uint64_t after = std::max(before, offset + data.size());
      if (parent_.UsedBytes(*parent_.root_) + (after - before) > parent_.capacity_) {
        return StatusFromErrno(ENOSPC, "write", path_);
      }
      // Who mapped it, or another state that shares it, keeps its own.
      if (node_->bytes.use_count() > 1) node_->bytes = std::make_shared<Bytes>(*node_->bytes);
      Apply(*node_->bytes, offset, data);
      node_->writes.push_back(
          {.number = ++parent_.n_writes_, .offset = offset, .data = {data.begin(), data.end()}});
      node_->modified = absl::Now();
    }
    parent_.Changed();
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t size) override {
    const std::lock_guard lock(parent_.mutex_);
    const uint64_t before = std::max<uint64_t>(node_->bytes->size(), node_->allocated);
    const uint64_t after = std::max(before, size);
    if (parent_.UsedBytes(*parent_.root_) + (after - before) > parent_.capacity_) {
      return StatusFromErrno(ENOSPC, absl::StrCat("take ", size, " bytes for"), path_);
    }
    node_->allocated = after;
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    {
      const std::lock_guard lock(parent_.mutex_);
      node_->synced_bytes = node_->bytes;
      node_->writes.clear();
    }
    parent_.Changed();
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileMapping>> Map() const override {
    struct Mapping : FileMapping {
      explicit Mapping(std::shared_ptr<const Bytes> the_bytes) : shared(std::move(the_bytes)) {}
      std::span<const std::byte> bytes() const override { return *shared; }
      const std::shared_ptr<const Bytes> shared;
    };
    const std::lock_guard lock(parent_.mutex_);
    return std::make_unique<Mapping>(node_->bytes);
  }

 private:
  PowerCutFileSystem& parent_;
  const std::filesystem::path path_;
  const std::shared_ptr<Node> node_;
};

class PowerCutFileSystem::MemoryLock : public FileLock {
 public:
  MemoryLock(PowerCutFileSystem& parent, std::string path) : parent_(parent), path_(std::move(path)) {}
  ~MemoryLock() override {
    const std::lock_guard lock(parent_.mutex_);
    parent_.locked_.erase(path_);
  }

 private:
  PowerCutFileSystem& parent_;
  const std::string path_;
};

// Copies what survives; a file with two names stays one.
class PowerCutFileSystem::Copier {
 public:
  Copier(Survivors survivors, uint64_t seed, uint64_t last_write)
      : survivors_(survivors), random_(seed), last_write_(last_write) {}

  std::shared_ptr<Node> Copy(const std::shared_ptr<Node>& node) {
    std::shared_ptr<Node>& copy = copies_[node.get()];
    if (copy != nullptr) return copy;
    copy = std::make_shared<Node>();
    copy->is_folder = node->is_folder;
    copy->modified = node->modified;
    if (node->is_folder) {
      for (const auto& [name, entry] : EntriesOf(*node)) copy->entries[name] = Copy(entry);
      copy->synced_entries = copy->entries;
    } else {
      copy->bytes = std::make_shared<Bytes>(BytesOf(*node));
      copy->synced_bytes = copy->bytes;
      copy->allocated = node->allocated;
    }
    return copies_[node.get()];
  }

 private:
  bool Toss() { return random_() % 2 == 0; }

  Node::Entries EntriesOf(const Node& node) {
    if (survivors_ == Survivors::kAll || survivors_ == Survivors::kAllTorn) return node.entries;
    Node::Entries entries = node.synced_entries;
    for (const Node::Change& change : node.changes) {
      if (survivors_ == Survivors::kSome && Toss()) Node::Apply(entries, change);
    }
    return entries;
  }

  Bytes BytesOf(const Node& node) {
    if (survivors_ == Survivors::kAll) return *node.bytes;
    Bytes bytes = *node.synced_bytes;
    if (survivors_ == Survivors::kNothing) return bytes;
    for (const Write& write : node.writes) {
      std::span<const std::byte> data(write.data);
      if (survivors_ == Survivors::kAllTorn && write.number == last_write_)
        data = data.first(data.size() / 2);
      if (survivors_ == Survivors::kSome) {
        if (Toss()) continue;
        if (Toss()) data = data.first(random_() % (data.size() + 1));
      }
      Apply(bytes, write.offset, data);
    }
    return bytes;
  }

  const Survivors survivors_;
  std::mt19937_64 random_;
  const uint64_t last_write_;
  std::map<const Node*, std::shared_ptr<Node>> copies_;
};

PowerCutFileSystem::PowerCutFileSystem() : root_(std::make_shared<Node>()) { root_->is_folder = true; }

PowerCutFileSystem::~PowerCutFileSystem() = default;

std::unique_ptr<PowerCutFileSystem> PowerCutFileSystem::AfterCut(Survivors survivors, uint64_t seed) const {
  auto after = std::make_unique<PowerCutFileSystem>();
  const std::lock_guard lock(mutex_);
  after->root_ = Copier(survivors, seed, n_writes_).Copy(root_);
  after->capacity_ = capacity_;
  return after;
}

void PowerCutFileSystem::OnChange(std::function<void()> call) {
  const std::lock_guard lock(mutex_);
  on_change_ = std::move(call);
}

void PowerCutFileSystem::Changed() {
  std::function<void()> call;
  {
    const std::lock_guard lock(mutex_);
    call = on_change_;
  }
  if (call) call();
}

void PowerCutFileSystem::SetCapacity(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  capacity_ = bytes;
}

uint64_t PowerCutFileSystem::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return UsedBytes(*root_);
}

uint64_t PowerCutFileSystem::UsedBytes(const Node& node) const {
  if (!node.is_folder) return std::max<uint64_t>(node.bytes->size(), node.allocated);
  uint64_t used = 0;
  for (const auto& [name, entry] : node.entries) used += UsedBytes(*entry);
  return used;
}

std::shared_ptr<PowerCutFileSystem::Node> PowerCutFileSystem::Find(const std::filesystem::path& path) const {
  std::shared_ptr<Node> node = root_;
  for (const std::filesystem::path& part : path.relative_path()) {
    const auto found = node->entries.find(part.string());
    if (!node->is_folder || found == node->entries.end()) return nullptr;
    node = found->second;
  }
  return node;
}

std::shared_ptr<PowerCutFileSystem::Node> PowerCutFileSystem::FindFolder(
    const std::filesystem::path& path) const {
  std::shared_ptr<Node> node = Find(path);
  return node != nullptr && node->is_folder ? node : nullptr;
}

absl::StatusOr<std::shared_ptr<PowerCutFileSystem::Node>> PowerCutFileSystem::Create(
    const std::filesystem::path& path, std::string_view action) {
  const std::shared_ptr<Node> folder = FindFolder(path.parent_path());
  if (folder == nullptr) return StatusFromErrno(ENOENT, action, path);
  auto node = std::make_shared<Node>();
  folder->Apply({{path.filename().string(), node}});
  return node;
}

absl::StatusOr<std::unique_ptr<File>> PowerCutFileSystem::OpenFile(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<Node> node = Find(path);
  if (node == nullptr) return StatusFromErrno(ENOENT, "open", path);
  return std::make_unique<MemoryFile>(*this, path, node);
}

absl::StatusOr<std::unique_ptr<File>> PowerCutFileSystem::OpenToWrite(const std::filesystem::path& path) {
  return OpenFile(path);
}

absl::StatusOr<std::unique_ptr<File>> PowerCutFileSystem::CreateFile(const std::filesystem::path& path) {
  std::unique_ptr<File> file;
  {
    const std::lock_guard lock(mutex_);
    if (Find(path) != nullptr) return StatusFromErrno(EEXIST, "create", path);
    absl::StatusOr<std::shared_ptr<Node>> node = Create(path, "create");
    if (!node.ok()) return node.status();
    file = std::make_unique<MemoryFile>(*this, path, *std::move(node));
  }
  Changed();
  return file;
}

absl::Status PowerCutFileSystem::CreateFolder(const std::filesystem::path& path) {
  {
    const std::lock_guard lock(mutex_);
    std::filesystem::path made = "/";
    for (const std::filesystem::path& part : path.relative_path()) {
      made /= part;
      const std::shared_ptr<Node> there = Find(made);
      if (there != nullptr && !there->is_folder) return StatusFromErrno(ENOTDIR, "create the folder", path);
      if (there != nullptr) continue;
      absl::StatusOr<std::shared_ptr<Node>> node = Create(made, "create the folder");
      if (!node.ok()) return node.status();
      (*node)->is_folder = true;
    }
  }
  Changed();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> PowerCutFileSystem::ListFolder(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<Node> folder = FindFolder(path);
  if (folder == nullptr) return StatusFromErrno(ENOENT, "list", path);
  std::vector<std::string> names;
  for (const auto& [name, entry] : folder->entries) names.push_back(name);
  return names;
}

absl::Status PowerCutFileSystem::Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<Node> node = Find(from);
    const std::shared_ptr<Node> source = FindFolder(from.parent_path());
    const std::shared_ptr<Node> target = FindFolder(to.parent_path());
    if (node == nullptr || target == nullptr) return StatusFromErrno(ENOENT, "rename", from);
    const std::string old_name = from.filename().string(), new_name = to.filename().string();
    if (source == target) {
      source->Apply({{old_name, nullptr}, {new_name, node}});
    } else {
      target->Apply({{new_name, node}});
      source->Apply({{old_name, nullptr}});
    }
  }
  Changed();
  return absl::OkStatus();
}

absl::Status PowerCutFileSystem::Remove(const std::filesystem::path& path) {
  {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<Node> node = Find(path);
    if (node == nullptr) return StatusFromErrno(ENOENT, "remove", path);
    if (!node->entries.empty()) return StatusFromErrno(ENOTEMPTY, "remove", path);
    FindFolder(path.parent_path())->Apply({{path.filename().string(), nullptr}});
  }
  Changed();
  return absl::OkStatus();
}

absl::StatusOr<absl::Time> PowerCutFileSystem::ModifyTime(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<Node> node = Find(path);
  if (node == nullptr) return StatusFromErrno(ENOENT, "read the time of", path);
  return node->modified;
}

absl::Status PowerCutFileSystem::SyncFolder(const std::filesystem::path& path) {
  {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<Node> folder = FindFolder(path);
    if (folder == nullptr) return StatusFromErrno(ENOENT, "fsync the folder", path);
    folder->synced_entries = folder->entries;
    folder->changes.clear();
  }
  Changed();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> PowerCutFileSystem::Lock(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  if (Find(path) == nullptr) {
    if (absl::Status status = Create(path, "lock").status(); !status.ok()) return status;
  }
  if (!locked_.insert(path.string()).second) {
    return absl::FailedPreconditionError(absl::StrCat("folder ", path.parent_path().string(), " is in use"));
  }
  return std::make_unique<MemoryLock>(*this, path.string());
}

}  // namespace mtm
