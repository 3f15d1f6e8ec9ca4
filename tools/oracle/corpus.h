// The log as files: every segment of a directory in order, decoded.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"
#include "wal/record.h"
#include "wal/version.h"

namespace varve::oracle {

using RecordSink = std::function<Status(const wal::Version&, const wal::Record&)>;

// Calls `take` with every record of the segments in `directory` (a pg_wal), from its oldest on, up
// to the end of the log. The record is valid during the call. kNotFound without segments, kCorrupt
// when the log ends before the last segment does or `take` fails.
Status read_log(const std::string& directory, const RecordSink& take);

}  // namespace varve::oracle
