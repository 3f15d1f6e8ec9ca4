// Where a new project's first files come from: a database cluster, made afresh for each, because
// two clusters of one identity would take each other's log for their own.
#pragma once

#include <cstdint>
#include <memory>

#include "base/status.h"
#include "storage/client/import_client.h"

namespace varve::control {

class ClusterSource {
 public:
  virtual ~ClusterSource() = default;
  // The installed Postgres of this major version, or the newest for 0, as 150008. Unsupported when
  // there is none, with what to install. Suspends.
  virtual Result<uint32_t> version(uint32_t major) = 0;
  // A new, cleanly stopped cluster of this version; the files go with the object. Suspends for
  // about a second.
  virtual Result<std::unique_ptr<storage::FileSource>> make(uint32_t version) = 0;
};

}  // namespace varve::control
