// What a machine must have before Varve can run on it: asked by `varve up` before it begins and
// shown one by one by `varve doctor`. Each check names what is wrong and what to do about it. Plain
// calls of the operating system.
#pragma once

#include <string>

#include "base/status.h"
#include "tools/varve/settings.h"

namespace varve::tool {

// The majors that computes know.
inline constexpr uint32_t kPostgresMajors[] = {15};

// NotFound unless a server, initdb included, of a known major is there; else its folder.
Result<std::string> check_postgres(const Settings& settings);
// The shim beside the executable; its path.
Result<std::string> check_shim();
// Who Postgres runs as, and where computes of this data directory have theirs: a sentence.
// Unsupported when there is nobody for it.
Result<std::string> check_postgres_user(const std::string& directory);
// Full below 1 GiB: the log alone is written in segments of 16 MiB, by three. A sentence otherwise.
Result<std::string> check_space(const std::string& directory);

}  // namespace varve::tool
