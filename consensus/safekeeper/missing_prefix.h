// The WAL in front of a timeline's start, in the segment that the start lies in.
//
// It is its parent's log. Whoever wants whole segment files (pg_receivewal, an archive, a standby)
// reads it; no proposer, compute or pageserver of the timeline ever does. So a branch is created
// without it and it is copied later. Until then an empty file beside the segments says by its name
// that it is missing and whose it is, and readers that begin in front of the start are refused
// rather than given zeros.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace varve::consensus {

struct MissingPrefix {
  std::optional<TimelineId> parent;  // none: nobody here has it

  std::string file_name() const;
  // Nothing when it is the name of something else.
  static std::optional<MissingPrefix> parse_file_name(std::string_view name);
};

}  // namespace varve::consensus
