// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/registry.h"

#include <algorithm>

namespace mtm {

void Histogram::Observe(double value) {
  const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  counts_[static_cast<size_t>(bound - bounds_.begin())].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void Histogram::Write(Exposition& exposition, const Labels& labels) const {
  std::vector<double> counts;
  for (const auto& count : counts_)
    counts.push_back(static_cast<double>(count.load(std::memory_order_relaxed)));
  exposition.Buckets(bounds_, counts, sum_.load(std::memory_order_relaxed), labels);
}

MetricFamily<Counter>& MetricsRegistry::AddCounter(const std::string& name, const std::string& help,
                                                   std::vector<std::string> label_names) {
  auto family =
      std::make_shared<MetricFamily<Counter>>(label_names, [] { return std::make_unique<Counter>(); });
  if (label_names.empty()) family->With({});
  Insert([name, help, family](Exposition& exposition) {
    exposition.Family(name, help, Exposition::Type::kCounter);
    family->ForEach(
        [&](const Counter& counter, const Labels& labels) { exposition.Sample(counter.value(), labels); });
  });
  return *family;
}

MetricFamily<Histogram>& MetricsRegistry::AddHistogram(const std::string& name, const std::string& help,
                                                       std::vector<double> bounds,
                                                       std::vector<std::string> label_names) {
  auto family = std::make_shared<MetricFamily<Histogram>>(
      label_names, [bounds = std::move(bounds)] { return std::make_unique<Histogram>(bounds); });
  if (label_names.empty()) family->With({});
  Insert([name, help, family](Exposition& exposition) {
    exposition.Family(name, help, Exposition::Type::kHistogram);
    family->ForEach(
        [&](const Histogram& histogram, const Labels& labels) { histogram.Write(exposition, labels); });
  });
  return *family;
}

std::shared_ptr<void> MetricsRegistry::AddCollector(Collector collector) {
  return std::shared_ptr<void>(nullptr,
                               [collectors = collectors_, place = Insert(std::move(collector))](void*) {
                                 const std::lock_guard lock(collectors->mutex);
                                 collectors->list.erase(place);
                               });
}

std::list<MetricsRegistry::Collector>::iterator MetricsRegistry::Insert(Collector collector) {
  const std::lock_guard lock(collectors_->mutex);
  return collectors_->list.insert(collectors_->list.end(), std::move(collector));
}

std::string MetricsRegistry::Scrape() const {
  Exposition exposition;
  const std::lock_guard lock(collectors_->mutex);
  for (const Collector& collector : collectors_->list) collector(exposition);
  return exposition.text();
}

}  // namespace mtm
