// Names of files in a data directory.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "wal/record.h"

namespace varve::compute {

inline constexpr uint32_t kDefaultTablespace = 1663;
inline constexpr uint32_t kSharedTablespace = 1664;
inline constexpr uint32_t kBlocksPerSegment = 131072;  // of 8 KiB: 1 GiB

// "base/5", or "global" for the shared one. Unsupported for any other tablespace.
Result<std::string> database_directory(uint32_t tablespace, uint32_t database);

// "base/5/16384_vm.1": the file that holds the blocks from segment * kBlocksPerSegment on.
Result<std::string> relation_path(const wal::RelationId& relation, wal::Fork fork,
                                  uint32_t segment);

}  // namespace varve::compute
