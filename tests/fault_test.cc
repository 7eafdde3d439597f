// SPDX-License-Identifier: Apache-2.0
// Every call that the store makes of its file system fails, each in turn and in each way, and the power is
// cut after every call. After each the folder is opened by a healthy system, and must show every state that
// was acknowledged, bit for bit, and nothing half done.
//
//   fault_test [--seed S]
//
// Prints what it tried, and `N passed, N failed` at last; the exit status is 1 if any failed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "memory_store/memory_store.h"
#include "spdlog/spdlog.h"
#include "tests/memory_store/store_script.h"
#include "tests/memory_store/test_memory.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/power_cut_file_system.h"

namespace mtm {
namespace {

constexpr char kRoot[] = "/memories";
constexpr char kSegments[] = "/memories/segments";

class FaultTest {
 public:
  explicit FaultTest(uint64_t seed) : seed_(seed), script_(MakeScript(static_cast<uint32_t>(seed))) {}

  bool Run() {
    RunHealthy();
    for (size_t i = 0; i < script_.size(); ++i) FailEveryCall(i);
    FailEveryCallOfOpen();
    FailEveryCallOfReading();
    CutThePowerEverywhere();
    std::printf("%d passed, %d failed\n", n_passed_, n_failed_);
    return n_failed_ == 0;
  }

 private:
  using Disk = std::unique_ptr<PowerCutFileSystem>;

  // One point: fails where any of its expectations does.
  void Point(const std::string& what, const std::function<void()>& check) {
    problem_.clear();
    check();
    if (problem_.empty()) {
      ++n_passed_;
      return;
    }
    ++n_failed_;
    if (n_failed_ <= 10) std::printf("FAILED %s: %s\n", what.c_str(), problem_.c_str());
  }

  void Expect(bool holds, const std::string& problem) {
    if (!holds && problem_.empty()) problem_ = problem;
  }

  std::unique_ptr<MemoryStore> Open(FileSystem& file_system) {
    auto store = MemoryStore::Open(kRoot, ScriptOptions(), &file_system);
    Expect(store.ok(), absl::StrCat("open: ", store.status().ToString()));
    return store.ok() ? *std::move(store) : nullptr;
  }

  // States before and after every step, and the disk before it.
  void RunHealthy() {
    disks_.push_back(std::make_unique<PowerCutFileSystem>());
    Point("the script", [&] {
      Disk disk = disks_[0]->AfterCut(Survivors::kAll, 0);
      states_.push_back(Describe(*Open(*disk)));
      for (const Step& step : script_) {
        disks_.push_back(disk->AfterCut(Survivors::kAll, 0));
        const std::unique_ptr<MemoryStore> store = Open(*disk);
        const absl::Status status = step.run(*store);
        Expect(status.ok(), absl::StrCat(step.name, ": ", status.ToString()));
        states_.push_back(Describe(*store));
      }
      disks_.push_back(disk->AfterCut(Survivors::kAll, 0));
      Expect(!absl::StrContains(states_.back(), "QUARANTINED"), states_.back());
    });
  }

  // What lies in the folder beside what the state needs.
  void ExpectNothingLeft(FileSystem& file_system, MemoryStore& store) {
    std::set<std::string> needed;
    const std::shared_ptr<const Catalog> catalog = store.catalog();
    for (const auto& [name, record] : *catalog) {
      for (const MemoryRecord::Version& version : record->versions) {
        const auto memory = store.Get(absl::StrCat(name, "@", version.digest));
        if (!memory.ok()) continue;
        for (const auto& segment : (*memory)->segments()) needed.insert(segment->digest());
      }
    }
    const auto files = file_system.ListFolder(kSegments);
    Expect(files.ok(), files.status().ToString());
    if (!files.ok()) return;
    size_t n_segments = 0;
    for (const std::string& file : *files) {
      Expect(needed.count(file.substr(0, 64)) == 1, absl::StrCat("left over: ", file));
      n_segments += absl::EndsWith(file, ".mtm") ? 1 : 0;
    }
    Expect(n_segments == needed.size(),
           absl::StrCat(needed.size(), " segments needed, ", n_segments, " there"));
    const auto in_root = file_system.ListFolder(kRoot);
    Expect(in_root.ok(), in_root.status().ToString());
    if (!in_root.ok()) return;
    for (const std::string& file : *in_root) {
      Expect(!absl::StartsWith(file, "MANIFEST."), absl::StrCat("left over: ", file));
    }
  }

  // Opens what is on the disk, compares it with the states around the step, and runs the step to its end.
  // `done`: it was acknowledged.
  void ExpectRecovers(Disk disk, size_t step, bool done) {
    const std::unique_ptr<MemoryStore> store = Open(*disk);
    if (store == nullptr) return;
    const std::string state = Describe(*store);
    const bool is_before = !done && state == states_[step];
    Expect(is_before || state == states_[step + 1], absl::StrCat("state is none of those expected, but\n",
                                                                 state, "\ninstead of\n", states_[step + 1]));
    ExpectNothingLeft(*disk, *store);
    if (is_before && step < script_.size()) {
      absl::Status status = script_[step].run(*store);
      // What a cut left of an import may be refused, and then begins anew.
      if (absl::IsInvalidArgument(status)) status = script_[step].run(*store);
      Expect(status.ok(), absl::StrCat("again: ", status.ToString()));
      Expect(Describe(*store) == states_[step + 1], "the state after running it again is another");
    }
    const std::string before = Describe(*store);
    const std::shared_ptr<const Catalog> catalog = store->catalog();
    for (const auto& [name, record] : *catalog) {
      const absl::Status status = store->Verify(name);
      Expect(status.ok(), absl::StrCat("verify: ", status.ToString()));
    }
    const auto probe = probe_.CreateIn(*store, "probe");
    Expect(probe.ok(), absl::StrCat("another memory: ", probe.status().ToString()));
    Expect(store->Delete("probe").ok() && Describe(*store) == before, "the store is not usable");
  }

  // `body` with fault after fault, until one is not met any more. It is given how to arm the disk, and says
  // what to call the point.
  void Sweep(const std::string& what, const std::function<void(FaultyFileSystem&, Disk&, int n)>& body,
             size_t disk) {
    int n_points = 0;
    for (const auto& [fault, fault_name] :
         {std::pair(Fault::kIoError, "EIO"), std::pair(Fault::kDiskFull, "ENOSPC"),
          std::pair(Fault::kShortWrite, "short write"),
          std::pair(Fault::kErrorAfter, "EIO after it was done")}) {
      for (const bool sticky : {false, true}) {
        bool met = true;
        for (int n = 1; met; ++n) {
          Disk copy = disks_[disk]->AfterCut(Survivors::kAll, 0);
          FaultyFileSystem faulty(*copy);
          arm_ = [&faulty, n, fault = fault, sticky] { faulty.Arm(n, fault, sticky); };
          Point(absl::StrCat(what, ", call ", n, ", ", fault_name, sticky ? " from then on" : ""),
                [&] { body(faulty, copy, n); });
          met = faulty.n_failed() > 0;
          n_points += met ? 1 : 0;
        }
      }
    }
    std::printf("%s: %d faults\n", what.c_str(), n_points);
  }

  void FailEveryCall(size_t step) {
    Sweep(
        script_[step].name,
        [&](FaultyFileSystem& faulty, Disk& disk, int) {
          std::unique_ptr<MemoryStore> store = Open(faulty);
          arm_();
          const absl::Status status = script_[step].run(*store);
          faulty.Disarm();
          Expect(status.ok() || faulty.n_failed() > 0, status.ToString());
          ExpectRecovers(disk->AfterCut(Survivors::kAll, 0), step, status.ok());
          // The running store shows the new state only where it reported success, and goes on.
          Expect(Describe(*store) == states_[status.ok() ? step + 1 : step],
                 absl::StrCat("the running store shows another state after ", status.ToString()));
          if (!status.ok()) {
            const absl::Status again = script_[step].run(*store);
            Expect(again.ok(), absl::StrCat("again, running: ", again.ToString()));
            Expect(Describe(*store) == states_[step + 1], "the running store did not get to the next state");
          }
          store.reset();
          ExpectRecovers(disk->AfterCut(Survivors::kAll, 0), step, /*done=*/true);
        },
        step + 1);
  }

  void FailEveryCallOfOpen() {
    for (const size_t step : {size_t{0}, script_.size()}) {
      Sweep(
          step == 0 ? "open an empty folder" : "open",
          [&](FaultyFileSystem& faulty, Disk& disk, int) {
            arm_();
            const auto store = MemoryStore::Open(kRoot, ScriptOptions(), &faulty);
            faulty.Disarm();
            Expect(store.ok() || faulty.n_failed() > 0, store.status().ToString());
            // What could not be read passes.
            if (store.ok()) Expect(Describe(**store) == states_[step], "another state");
            ExpectRecovers(disk->AfterCut(Survivors::kAll, 0), step == 0 ? 0 : step - 1, step != 0);
          },
          step == 0 ? 0 : step + 1);
    }
  }

  void FailEveryCallOfReading() {
    const size_t step = script_.size();
    Sweep(
        "read",
        [&](FaultyFileSystem& faulty, Disk& disk, int) {
          const std::unique_ptr<MemoryStore> store = Open(faulty);
          arm_();
          Describe(*store);
          faulty.Disarm();
          Expect(Describe(*store) == states_[step], "an error that passed is still felt");
          ExpectRecovers(disk->AfterCut(Survivors::kAll, 0), step - 1, /*done=*/true);
        },
        step + 1);
  }

  // One run of the whole script on one disk, so that what a step left unsynced is at stake in the next ones.
  void CutThePowerEverywhere() {
    PowerCutFileSystem disk;
    size_t step = 0;
    bool opening_first = true;
    bool done = false;
    int n_cuts = 0;
    std::mutex one_cut;  // an index is written by several threads
    const auto cut = [&] {
      const std::lock_guard lock(one_cut);
      ++n_cuts;
      for (const auto& [survivors, name] :
           {std::pair(Survivors::kNothing, "nothing unsynced"), std::pair(Survivors::kAll, "everything"),
            std::pair(Survivors::kSome, "a mixture"), std::pair(Survivors::kAllTorn, "a torn write")}) {
        const auto seed = seed_ + static_cast<uint64_t>(n_cuts);
        Point(absl::StrCat("power cut ", n_cuts, " (", opening_first ? "open" : script_[step].name, "), ",
                           name, " survives"),
              [&] { ExpectRecovers(disk.AfterCut(survivors, seed), step, done); });
      }
    };
    disk.OnChange(cut);
    std::unique_ptr<MemoryStore> store = Open(disk);
    opening_first = false;
    for (; step < script_.size(); ++step) {
      // Every other time from the state that another start leaves.
      if (step % 2 == 1) {
        store.reset();
        store = Open(disk);
      }
      const absl::Status status = script_[step].run(*store);
      Point(script_[step].name, [&] { Expect(status.ok(), status.ToString()); });
      done = true;
      cut();
      done = false;
    }
    disk.OnChange({});
    std::printf("power: %d cuts, %d states after them\n", n_cuts, 4 * n_cuts);
  }

  const uint64_t seed_;
  const std::vector<Step> script_;
  const TestMemory probe_{12345};
  std::vector<std::string> states_;  // [steps + 1]: before each step, and at last
  std::vector<Disk> disks_;          // [steps + 2]: empty; before each step, and at last
  std::function<void()> arm_;
  std::string problem_;
  int n_passed_ = 0;
  int n_failed_ = 0;
};

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) {
  uint64_t seed = 1;
  if (argc == 3 && std::string(argv[1]) == "--seed") {
    seed = std::strtoull(argv[2], nullptr, 10);
  } else if (argc != 1) {
    std::fprintf(stderr, "usage: fault_test [--seed S]\n");
    return 2;
  }
  spdlog::set_level(spdlog::level::off);  // each fault logs, as it should
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  return mtm::FaultTest(seed).Run() ? 0 : 1;
}
