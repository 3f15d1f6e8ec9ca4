// The record types whose redo the oracle is to see: a corpus that misses one proves nothing about
// it.
#pragma once

#include <string>
#include <vector>

#include "wal/version.h"

namespace varve::oracle {

// Names of all types that native redo replays and that ordinary settings bring about, as pg_waldump
// prints them.
std::vector<std::string> expected_types(const wal::Version& version);

}  // namespace varve::oracle
