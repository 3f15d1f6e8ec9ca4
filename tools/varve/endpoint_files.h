// What an endpoint has on the machine: settings, logs, a cache.
#pragma once

#include <string>

#include "base/ids.h"
#include "real_io/thread_pool.h"
#include "runtime/disk.h"
#include "tools/varve/layout.h"

namespace varve::tool {

// Where a compute keeps, over its lives, what ALTER SYSTEM has set; relative to the data directory.
std::string endpoint_directory(const TenantId& tenant, const std::string& endpoint);
// Names of the two logs of an endpoint (Layout::log).
std::string compute_log_name(const TenantId& tenant, const std::string& endpoint);
std::string postgres_log_name(const TenantId& tenant, const std::string& endpoint);
// Below it each life of its Postgres has a directory. Sockets lie there, whose paths have 107 bytes
// at most, so it has a part of the tenant's id only: two projects may share it.
std::string compute_place(const Layout& layout, const TenantId& tenant,
                          const std::string& endpoint);

// Removes all of it, durably where the next endpoint of the name would find it. No process of the
// endpoint may run. Success if there is nothing. `disk` is the data directory. Suspends.
Status forget_endpoint(Disk& disk, real_io::ThreadPool& threads, const Layout& layout,
                       const TenantId& tenant, const std::string& endpoint);

}  // namespace varve::tool
