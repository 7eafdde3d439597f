// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_METRICS_PROCESS_METRICS_H_
#define MTM_SERVER_METRICS_PROCESS_METRICS_H_

#include "server/metrics/exposition.h"

namespace mtm {

// What Prometheus' client libraries tell of a process, under their names: CPU time, memory, descriptors,
// start. From /proc.
void CollectProcess(Exposition& exposition);

}  // namespace mtm

#endif  // MTM_SERVER_METRICS_PROCESS_METRICS_H_
