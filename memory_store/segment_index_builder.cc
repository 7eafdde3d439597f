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
#include "memory_store/segment.h"
#include "memory_store/segment_index.h"
#include "memory_store/segment_index_data.h"

// OpenMP's, whose header not every compiler brings: for the calling thread only.
extern "C" void omp_set_num_threads(int n);

namespace mtm {
namespace {

using Lists = SegmentIndex::Data::Lists;
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

void FillLists(const std::vector<uint32_t>& list_of_row, Lists& lists) {
  for (const uint32_t list : list_of_row) ++lists.list_begins[list + 1];
  for (size_t i = 1; i < lists.list_begins.size(); ++i) lists.list_begins[i] += lists.list_begins[i - 1];
  std::vector<uint32_t> ends(lists.list_begins.begin(), lists.list_begins.end() - 1);
  lists.rows.resize(list_of_row.size());
  for (size_t row = 0; row < list_of_row.size(); ++row) {
    lists.rows[ends[list_of_row[row]]++] = static_cast<uint32_t>(row);
  }
}

std::vector<uint32_t> ListOfRow(const Lists& lists) {
  std::vector<uint32_t> list_of_row(lists.rows.size());
  for (uint32_t list = 0; list + 1 < lists.list_begins.size(); ++list) {
    for (uint32_t i = lists.list_begins[list]; i < lists.list_begins[list + 1]; ++i) {
      list_of_row[lists.rows[i]] = list;
    }
  }
  return list_of_row;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const SegmentIndex>> SegmentIndex::Build(const Segment& segment,
                                                                        const IndexOptions& options,
                                                                        const IndexProgress& progress) {
  const MemorySpec& spec = segment.spec();
  const auto n_head = static_cast<size_t>(spec.n_head);
  auto data = std::make_unique<Data>();
  data->spec = spec;
  data->lists.resize(spec.layers.size() * n_head);
  data->head.segment = segment.digest();
  data->head.n_list = ListCount(segment.n_tokens());
  data->head.seed = options.seed;
  std::vector<double> recalls(data->lists.size());

  const Work build_one = [&](size_t i) -> absl::Status {
    const Place place = PlaceOf(spec, i);
    const StoredRows keys = segment.keys(place.layer, place.head);
    const uint64_t seed = SeedOf(options.seed, i);
    absl::StatusOr<std::vector<float>> centroids = TrainCentroids(keys, data->head.n_list, seed);
    if (!centroids.ok()) return centroids.status();
    const std::vector<uint32_t> list_of_row = AssignRows(keys, *centroids);
    const std::vector<double> recall = MeasureRecall(keys, *centroids, list_of_row, seed);
    int n_probe = 1;
    while (n_probe < data->head.n_list && recall[static_cast<size_t>(n_probe)] < options.recall_target) {
      n_probe = std::min(2 * n_probe, data->head.n_list);
    }
    recalls[i] = recall[static_cast<size_t>(n_probe)];
    Lists& lists = data->lists[i];
    lists.centroids = *std::move(centroids);
    lists.list_begins.resize(static_cast<size_t>(data->head.n_list) + 1);
    lists.n_probe = n_probe;
    FillLists(list_of_row, lists);
    return absl::OkStatus();
  };
  if (absl::Status status = ParallelWork(recalls.size(), build_one).Run(progress); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat("segment ", segment.digest(), ": ", status.message()));
  }
  data->head.recall = *std::min_element(recalls.begin(), recalls.end());
  data->head.n_probe.assign(spec.layers.size(), {});
  for (size_t i = 0; i < data->lists.size(); ++i) {
    data->head.n_probe[i / n_head].push_back(data->lists[i].n_probe);
  }
  LayOut(data->head, spec, segment.n_tokens());
  return std::shared_ptr<const SegmentIndex>(new SegmentIndex(std::move(data)));
}

absl::Status SegmentIndex::Verify(const Segment& segment, const IndexProgress& progress) const {
  // What BLAS sums in another order may move a key over a border between lists.
  constexpr double kRecallSlack = 0.01;
  const Work verify_one = [&](size_t i) -> absl::Status {
    const Place place = PlaceOf(data_->spec, i);
    const StoredRows keys = segment.keys(place.layer, place.head);
    const Lists& lists = data_->lists[i];
    const std::vector<uint32_t> list_of_row = ListOfRow(lists);
    const std::string what = absl::StrCat("index of segment ", data_->head.segment, ", layer ", place.layer,
                                          ", head ", place.head, ": ");
    absl::Status status = CheckAssignment(keys, lists.centroids, list_of_row);
    if (!status.ok()) return absl::DataLossError(absl::StrCat(what, status.message()));
    const double recall = MeasureRecall(keys, lists.centroids, list_of_row,
                                        SeedOf(data_->head.seed, i))[static_cast<size_t>(lists.n_probe)];
    if (recall >= data_->head.recall - kRecallSlack) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat(what, "its recall is ", recall, ", and was ", data_->head.recall, " when it was built"));
  };
  return ParallelWork(data_->lists.size(), verify_one).Run(progress);
}

}  // namespace mtm
