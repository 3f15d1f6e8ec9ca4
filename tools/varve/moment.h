// A moment of the past as people write it: a position in the log, or a time.
#pragma once

#include <string>

#include "base/status.h"
#include "tools/varve/control_client.h"

namespace varve::tool {

// "0/16B3748" becomes a position; "2026-11-21 03:04:05.678+00", as Postgres prints its now(), and
// ISO 8601 with 'T' or 'Z' become a time. Invalid says what was expected; a time without a zone is
// refused, since the zone of who asks need not be that of the server.
Status parse_moment(const std::string& text, BranchPoint& point);

}  // namespace varve::tool
