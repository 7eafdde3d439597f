// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_METRICS_REGISTRY_H_
#define MTM_SERVER_METRICS_REGISTRY_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "server/metrics/exposition.h"

namespace mtm {

// A number that only grows. Thread-safe, without locks.
class Counter {
 public:
  void Add(double amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

// How many observations were how large. Thread-safe, without locks.
class Histogram {
 public:
  // Upper bounds, ascending, inclusive.
  explicit Histogram(const std::vector<double>& bounds) : bounds_(bounds), counts_(bounds.size() + 1) {}

  void Observe(double value);
  void Write(Exposition& exposition, const Labels& labels) const;

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<int64_t>> counts_;  // [bounds + 1]: above the bound before, up to its own
  std::atomic<double> sum_ = 0;
};

// One metric for each combination of label values. Values are words of ours, never a client's: each one stays
// for good. Thread-safe.
template <typename Metric>
class MetricFamily {
 public:
  using Make = std::function<std::unique_ptr<Metric>()>;

  MetricFamily(std::vector<std::string> label_names, Make make)
      : label_names_(std::move(label_names)), make_(std::move(make)) {}

  // As many values as there are label names.
  Metric& With(const std::vector<std::string>& values) {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<Metric>& metric = metrics_[values];
    if (metric == nullptr) metric = make_();
    return *metric;
  }

  void ForEach(const std::function<void(const Metric&, const Labels&)>& function) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [values, metric] : metrics_) {
      Labels labels;
      for (size_t i = 0; i < values.size(); ++i) labels.emplace_back(label_names_[i], values[i]);
      function(*metric, labels);
    }
  }

 private:
  const std::vector<std::string> label_names_;
  const Make make_;
  mutable std::mutex mutex_;
  std::map<std::vector<std::string>, std::unique_ptr<Metric>> metrics_;  // under the mutex
};

// All metrics of a process. Thread-safe.
class MetricsRegistry {
 public:
  using Collector = std::function<void(Exposition&)>;

  // The metrics live as long as the registry. Those without labels show from the start.
  MetricFamily<Counter>& AddCounter(const std::string& name, const std::string& help,
                                    std::vector<std::string> label_names = {});
  MetricFamily<Histogram>& AddHistogram(const std::string& name, const std::string& help,
                                        std::vector<double> bounds,
                                        std::vector<std::string> label_names = {});

  // `collector` writes what is read off anew at each scrape, on its thread, one at a time. Ends with the
  // returned handle, whose end waits for a scrape under way.
  [[nodiscard]] std::shared_ptr<void> AddCollector(Collector collector);

  // In Prometheus' text format 0.0.4.
  std::string Scrape() const;

 private:
  // Outlives the registry where a handle does.
  struct Collectors {
    std::mutex mutex;
    std::list<Collector> list;  // under the mutex
  };

  std::list<Collector>::iterator Insert(Collector collector);

  const std::shared_ptr<Collectors> collectors_ = std::make_shared<Collectors>();
};

}  // namespace mtm

#endif  // MTM_SERVER_METRICS_REGISTRY_H_
