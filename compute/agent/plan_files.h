// The parts of a plan that are the same for every cluster: directories, configuration, the forged
// log. Inside of plan.h; nobody else needs them.
#pragma once

#include <string>
#include <vector>

#include "compute/agent/plan.h"

namespace varve::compute {

// Directories that Postgres wants to find, parents first. Without some it does not start, without
// others its first checkpoint fails; it makes a few itself.
std::vector<std::string> fixed_directories();

// "15\n".
Bytes version_text(uint16_t major);

// Invalid: a name that is ours to set, that is no name, or a value with a line break. Unsupported:
// logical decoding.
Status check_settings(const ComputeSettings& settings, uint16_t major);

// Configuration files, the origins' progress, and the -c arguments.
Status add_configuration(const Manifest& manifest, const ComputeSettings& settings,
                         PostgresPlan& plan);

// Corrupt unless the bytes before the manifest's LSN, if there are any, begin with a header that
// belongs there.
Status prefix_is_sound(const Manifest& manifest, const wal::LogIdentity& identity);

// The segment that holds the forged record, and the next if it reaches into it.
Status add_log_segments(const Manifest& manifest, const ForgedRecord& forged, PostgresPlan& plan);

}  // namespace varve::compute
