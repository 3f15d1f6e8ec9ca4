// Log lines for people and for grep: one event a line,
//
//   2026-11-21T03:04:05.678901Z INFO layer_flushed "what happened" tenant=… field=value other="two
//   words"
//
// Lines below the threshold cost a comparison. Control characters are escaped, so that a hostile
// name can't forge a line.
#pragma once

#include <memory>
#include <string>

#include "runtime/clock.h"
#include "runtime/telemetry.h"

namespace varve::real_io {

struct LogOptions {
  std::string path;  // "" is stderr; a file is appended to
  Severity threshold = Severity::kInfo;
};

// Refused or NotFound, naming the file, when it can't be opened. `clock` must outlive the log.
Result<std::unique_ptr<Log>> open_log(const LogOptions& options, const Clock& clock);

// "2026-11-21T03:04:05.678901Z".
std::string format_time(WallTime time);
// The line without its end.
std::string format_line(WallTime time, Severity severity, std::string_view event,
                        std::string_view message, const std::vector<Field>& fields);

}  // namespace varve::real_io
