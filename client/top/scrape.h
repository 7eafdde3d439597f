// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_TOP_SCRAPE_H_
#define MTM_CLIENT_TOP_SCRAPE_H_

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace mtm::client {

using MetricLabels = std::map<std::string, std::string>;

// Counts of observations up to each upper bound, ascending; the last bound is infinite.
using Buckets = std::vector<std::pair<double, double>>;

// What a server's metrics were at one moment.
class Scrape {
 public:
  // Reads Prometheus' text format 0.0.4. INVALID_ARGUMENT names the line that is not of it.
  static absl::StatusOr<Scrape> Parse(std::string_view text);

  // Of all samples of a name that have such labels, whatever others; 0 where there are none.
  double Sum(const std::string& name, const MetricLabels& labels = {}) const;

  // The same for each value of `label`.
  std::map<std::string, double> SumsBy(const std::string& name, const std::string& label,
                                       const MetricLabels& labels = {}) const;

  // Of the histogram `name`. Empty where there is none.
  Buckets BucketsOf(const std::string& name, const MetricLabels& labels = {}) const;

 private:
  struct Sample {
    MetricLabels labels;
    double value = 0;
  };

  std::map<std::string, std::vector<Sample>> samples_;  // by name
};

// Below which a share `q` of the observations lies, linear within a bucket as Prometheus has it; above the
// highest finite bound, that bound. NaN where there are none.
double Quantile(double q, const Buckets& buckets);

}  // namespace mtm::client

#endif  // MTM_CLIENT_TOP_SCRAPE_H_
