// A new root timeline from the files of a cluster that was stopped cleanly, such as initdb leaves.
//
// The files become image layers that tile all keys, at the end of the shutdown checkpoint's record.
// Until these and the index are in the store nothing can rebuild them, since they are in no log; so
// whoever creates a project answers only then. Refused with a reason: a cluster that was not shut
// down, data checksums, tablespaces. Free space maps, and contents of unlogged relations, are left
// out.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "runtime/disk.h"
#include "storage/format/layer_writer.h"
#include "storage/plan/compaction.h"
#include "storage/remote/index.h"

namespace varve::storage {

// The files of a data directory, by paths relative to it. `read` may suspend.
struct ClusterFiles {
  struct File {
    std::string path;
    uint64_t size = 0;
  };
  std::vector<File> files;
  std::function<Result<Bytes>(const std::string& path)> read;
};
// All files below `directory`. Suspends. `disk` must outlive the answer.
Result<ClusterFiles> cluster_files_on_disk(Disk& disk, const std::string& directory);

struct ImportOptions {
  LayerFormatOptions format;
  uint64_t target_layer_bytes = 64 << 20;
};

struct ImportedCluster {
  TimelineIndex index;  // for the new timeline
  // The log's bytes from the start of the segment that holds index.start up to there, which
  // safekeepers need.
  Bytes log_prefix;
};

// Takes a finished layer, names it and puts it into the store.
using LayerSink =
    std::function<Result<LayerRef>(LayerDescriptor descriptor, const std::vector<Bytes>& content)>;

// Suspends when `files` or `sink` do. kRefused, kCorrupt and kUnsupported name the file.
Result<ImportedCluster> import_cluster(const ClusterFiles& files, const TenantId& tenant,
                                       const TimelineId& timeline, const ImportOptions& options,
                                       const LayerSink& sink);

}  // namespace varve::storage
