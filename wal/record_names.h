// What a record is called, for messages, statistics and proofs of coverage.
#pragma once

#include <cstdint>
#include <string>

#include "wal/version.h"

namespace varve::wal {

// The operation alone as pg_waldump prints it: "INSERT+INIT"; "UNKNOWN (f0)" when the resource
// manager has no such operation in this version.
std::string operation_name(const Version& version, uint8_t rmid, uint8_t info);

// "Heap/INSERT+INIT".
std::string record_name(const Version& version, uint8_t rmid, uint8_t info);

}  // namespace varve::wal
