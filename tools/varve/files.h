// Small files of a data directory, read and written whole, before a world exists.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace varve::tool {

// NotFound names the file.
Result<std::string> read_file(const std::string& path);
// Complete and durable, or as before: temporary file, sync, rename, sync of the directory.
Status write_file(const std::string& path, std::string_view content, unsigned mode);
// With those above it. Success if it exists.
Status make_directory(const std::string& path, unsigned mode);
bool exists(const std::string& path);
// An error of the operating system, with errno's text.
Status os_error(const std::string& what, const std::string& object);

}  // namespace varve::tool
