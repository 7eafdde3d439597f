// SPDX-License-Identifier: Apache-2.0
// Building an index, and comparing one with its segment: all cores, one (layer, head) each.
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/inverted_file.h"
#include "memory_store/residual_codes.h"
#include "memory_store/segment.h"
#include "memory_store/segment_index.h"
#include "memory_store/segment_index_data.h"

// OpenMP's, whose header not every compiler brings: for the calling thread only.
extern "C" void omp_set_num_threads(int n);

namespace mtm {
namespace {

using Work = std::function<absl::Status(size_t index)>;

// FAISS throws.
absl::Status Guarded(const Work& work, size_t index) {
  try {
    return work(index);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("index: no memory left");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("index: ", error.what()));
  }
}

// work(0), ..., work(n - 1) on as many threads as there are cores; `progress` on the caller's. The first
// error ends it.
class ParallelWork {
 public:
  ParallelWork(size_t n, const Work& work) : n_(n), work_(work) {}

  absl::Status Run(const IndexProgress& progress) {
    const size_t n_cores = std::max(1u, std::thread::hardware_concurrency());
    const size_t n_threads = std::min(n_, n_cores);
    n_running_ = n_threads;             // from here on theirs, under mutex_
    std::vector<std::jthread> threads;  // joined before the members go
    for (size_t i = 0; i < n_threads; ++i) threads.emplace_back([this] { RunThread(); });
    std::unique_lock lock(mutex_);
    size_t n_reported = 0;
    while (n_running_ > 0) {
      changed_.wait(lock, [&] { return n_done_ != n_reported || n_running_ == 0; });
      n_reported = n_done_;
      if (!progress || !result_.ok()) continue;
      lock.unlock();
      const absl::Status status = progress(static_cast<double>(n_reported) / static_cast<double>(n_));
      lock.lock();
      result_.Update(status);
    }
    return result_;
  }

 private:
  void RunThread() {
    omp_set_num_threads(1);  // FAISS's: the threads here are enough, and one gives the same sums everywhere
    std::unique_lock lock(mutex_);
    while (next_ < n_ && result_.ok()) {
      const size_t index = next_++;
      lock.unlock();
      const absl::Status status = Guarded(work_, index);
      lock.lock();
      result_.Update(status);
      ++n_done_;
      changed_.notify_one();
    }
    --n_running_;
    changed_.notify_one();
  }

  const size_t n_;
  const Work& work_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t next_ = 0;
  size_t n_done_ = 0;
  size_t n_running_ = 0;
  absl::Status result_;
};

// The (layer, head) that lists[index] is of.
struct Place {
  int layer;
  int head;
};

Place PlaceOf(const MemorySpec& spec, size_t index) {
  const auto n_head = static_cast<size_t>(spec.n_head);
  return {.layer = spec.layers[index / n_head], .head = static_cast<int>(index % n_head)};
}

uint64_t SeedOf(uint64_t seed, size_t index) { return seed + index; }

// An inverted file in memory.
struct BuiltFile {
  std::vector<float> centroids;
  std::vector<uint32_t> list_begins;
  std::vector<uint32_t> rows;
  std::vector<float> scales;
  std::vector<uint8_t> codes;

  InvertedFile view() const { return {centroids, list_begins, rows, scales, codes}; }
};

void FillLists(const std::vector<uint32_t>& list_of_row, size_t n_list, BuiltFile& file) {
  std::vector<uint32_t>& begins = file.list_begins;
  begins.resize(n_list + 1);
  for (const uint32_t list : list_of_row) ++begins[list + 1];
  for (size_t i = 1; i < begins.size(); ++i) begins[i] += begins[i - 1];
  std::vector<uint32_t> ends(begins.begin(), begins.end() - 1);
  file.rows.resize(list_of_row.size());
  for (size_t row = 0; row < list_of_row.size(); ++row) {
    file.rows[ends[list_of_row[row]]++] = static_cast<uint32_t>(row);
  }
}

std::vector<uint32_t> ListOfRow(const InvertedFile& file) {
  std::vector<uint32_t> list_of_row(file.rows.size());
  for (uint32_t list = 0; list + 1 < file.list_begins.size(); ++list) {
    for (uint32_t i = file.list_begins[list]; i < file.list_begins[list + 1]; ++i) {
      list_of_row[file.rows[i]] = list;
    }
  }
  return list_of_row;
}

double Recall(const RecallMeter& meter, const InvertedFile& file, int n_probe) {
  return meter.Of([&](std::span<const float> keys) {
    return ProposeRows(file, n_probe, keys, RecallMeter::kNeighbours + 1);  // each is a neighbour of its own
  });
}

struct Probes {
  int n_probe = 1;
  double recall = 0;
};

// As few lists as the target takes, give or take a tenth; or as many as find more, where it is the codes that
// miss some.
Probes ChooseProbes(const RecallMeter& meter, const InvertedFile& file,
                    const std::vector<uint32_t>& list_of_row, double target) {
  const std::vector<double> of_lists = meter.OfLists(file, list_of_row);
  const auto n_list = static_cast<int>(of_lists.size()) - 1;
  Probes probes;
  while (probes.n_probe < n_list && of_lists[static_cast<size_t>(probes.n_probe)] < target) ++probes.n_probe;
  probes.recall = Recall(meter, file, probes.n_probe);
  while (probes.recall < target && probes.n_probe < n_list) {
    Probes more{.n_probe = std::min(n_list, probes.n_probe + std::max(1, probes.n_probe / 10))};
    more.recall = Recall(meter, file, more.n_probe);
    if (more.recall <= probes.recall) break;
    probes = more;
  }
  return probes;
}

// Builds and writes the inverted file of one (layer, head).
absl::StatusOr<Probes> BuildOne(const Segment& segment, Place place, uint64_t seed,
                                const IndexOptions& options, const SegmentIndexHead& head, File& out) {
  const StoredRows keys = segment.keys(place.layer, place.head);
  absl::StatusOr<std::vector<float>> centroids = TrainCentroids(keys, head.n_list, seed);
  if (!centroids.ok()) return centroids.status();
  BuiltFile file{.centroids = *std::move(centroids)};
  const std::vector<uint32_t> list_of_row = AssignRows(keys, file.centroids);
  FillLists(list_of_row, static_cast<size_t>(head.n_list), file);
  file.scales = ResidualScales(keys, file.view());
  file.codes = EncodeRows(keys, file.view());
  absl::Status status;
  const auto write = [&](std::string_view kind, std::span<const std::byte> bytes) {
    if (!status.ok()) return;
    status = out.WriteAt(head.Part(kind, place.layer, place.head, segment.spec()).offset, bytes);
  };
  write("centroids", std::as_bytes(std::span(file.centroids)));
  write("list_begins", std::as_bytes(std::span(file.list_begins)));
  write("rows", std::as_bytes(std::span(file.rows)));
  write("scales", std::as_bytes(std::span(file.scales)));
  write("codes", std::as_bytes(std::span(file.codes)));
  if (!status.ok()) return status;
  return ChooseProbes(RecallMeter(keys, head.n_list, seed), file.view(), list_of_row, options.recall_target);
}

absl::Status WriteIndex(const Segment& segment, const IndexOptions& options, const IndexProgress& progress,
                        File& out) {
  const MemorySpec& spec = segment.spec();
  const auto n_head = static_cast<size_t>(spec.n_head);
  SegmentIndexHead head{
      .segment = segment.digest(), .n_list = ListCount(segment.n_tokens()), .seed = options.seed};
  LayOut(head, spec, segment.n_tokens());
  if (absl::Status status = out.Allocate(head.file_size()); !status.ok()) return status;

  std::vector<Probes> probes(spec.layers.size() * n_head);
  const Work build_one = [&](size_t i) {
    const absl::StatusOr<Probes> built =
        BuildOne(segment, PlaceOf(spec, i), SeedOf(options.seed, i), options, head, out);
    if (built.ok()) probes[i] = *built;
    return built.status();
  };
  if (absl::Status status = ParallelWork(probes.size(), build_one).Run(progress); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat("segment ", segment.digest(), ": ", status.message()));
  }
  head.recall = 1;
  head.n_probe.assign(spec.layers.size(), {});
  for (size_t i = 0; i < probes.size(); ++i) {
    head.recall = std::min(head.recall, probes[i].recall);
    head.n_probe[i / n_head].push_back(probes[i].n_probe);
  }
  const std::string bytes = EncodeHead(head);
  if (absl::Status status = out.WriteAt(0, std::as_bytes(std::span(bytes))); !status.ok()) return status;
  return SealFile(out, head.data_size);
}

}  // namespace

absl::Status SegmentIndex::Build(FileSystem& file_system, const std::filesystem::path& path,
                                 const Segment& segment, const IndexOptions& options,
                                 const IndexProgress& progress) {
  absl::StatusOr<std::unique_ptr<File>> file = file_system.CreateFile(path);
  if (!file.ok()) return file.status();
  absl::Status status = WriteIndex(segment, options, progress, **file);
  if (!status.ok()) file_system.Remove(path).IgnoreError();  // the next open removes what is left
  return status;
}

absl::Status SegmentIndex::Verify(const Segment& segment, const IndexProgress& progress) const {
  // What BLAS sums in another order may move a key over a border between lists.
  constexpr double kRecallSlack = 0.01;
  const Work verify_one = [&](size_t i) -> absl::Status {
    const Place place = PlaceOf(data_->spec, i);
    const StoredRows keys = segment.keys(place.layer, place.head);
    const InvertedFile& file = data_->files[i];
    const std::string what = absl::StrCat("index of segment ", data_->head.segment, ", layer ", place.layer,
                                          ", head ", place.head, ": ");
    absl::Status status = CheckAssignment(keys, file.centroids, ListOfRow(file));
    if (status.ok()) status = CheckCodes(keys, file);
    if (!status.ok()) return absl::DataLossError(absl::StrCat(what, status.message()));
    const RecallMeter meter(keys, data_->head.n_list, SeedOf(data_->head.seed, i));
    const double recall = Recall(meter, file, data_->n_probe(i));
    if (recall >= data_->head.recall - kRecallSlack) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat(what, "its recall is ", recall, ", and was ", data_->head.recall, " when it was built"));
  };
  return ParallelWork(data_->files.size(), verify_one).Run(progress);
}

}  // namespace mtm
