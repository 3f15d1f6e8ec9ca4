// Sends the files of a stopped cluster to a pageserver, which makes them a new root timeline.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "wire/rpc_client.h"

namespace varve::storage {

// A piece of one file.
struct FilePiece {
  std::string path;     // relative to the data directory
  uint64_t offset = 0;  // where the piece before of this file ended
  Bytes bytes;          // at most kStreamPieceBytes; an empty file has one empty piece
};

// Where files come from. The pieces of a file are in order; files may be in any.
class FileSource {
 public:
  virtual ~FileSource() = default;
  // The next piece; nothing after the last. May suspend.
  virtual Result<std::optional<FilePiece>> next() = 0;
};

struct ImportedTimeline {
  Lsn lsn;                // where the log goes on
  Lsn last_record_start;  // of the record that ends there
  uint16_t postgres_major = 0;
  uint64_t system_id = 0;
  uint32_t segment_size = 0;
  Bytes log_prefix;  // the log from its segment's beginning to `lsn`, for the safekeepers
};

// Makes `timeline` from the files. Everything is in the object store when it answers. An import
// that ended with an error of the connection may have taken effect: begin again with a new id
// (kExists for the old one). kRefused, kCorrupt and kUnsupported name the file that is wrong;
// errors of `source` come back as they are. Suspends.
Result<ImportedTimeline> import_timeline(RpcClient& client, const TenantShardId& shard,
                                         Generation generation, const TimelineId& timeline,
                                         FileSource& source);

}  // namespace varve::storage
