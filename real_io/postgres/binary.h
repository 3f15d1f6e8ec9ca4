// What an executable asks of the C library, and whether the shim covers it.
//
// A Postgres with a file call that goes past the shim reads holes as zeros, so such a binary is
// refused before it runs. Read from the dynamic symbol tables; 64-bit little-endian ELF. Blocks.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace varve::real_io {

struct DynamicSymbols {
  std::vector<std::string> defined;
  std::vector<std::string> undefined;
};

// NotFound; Corrupt when the file is cut off or is no such ELF file.
Result<DynamicSymbols> read_dynamic_symbols(const std::string& path);

// Names in `wanted` that touch file contents, lengths or names and that are not in `covered`.
// `ring`: whether io_uring counts, which Postgres 18 brings along but uses only when it is told to.
std::vector<std::string> uncovered_file_calls(const std::vector<std::string>& wanted,
                                              const std::vector<std::string>& covered, bool ring);

}  // namespace varve::real_io
