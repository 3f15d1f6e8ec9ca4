// What verbs say on stdout: tables for people, one JSON object a line for programs.
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "base/time.h"

namespace varve::tool {

// A row's cells, in the order of `columns`. With `json` each row is an object whose keys are the
// columns and whose values are texts; numbers and truth values stand bare.
void print_rows(const std::vector<std::string>& columns,
                const std::vector<std::vector<std::string>>& rows, bool json);

// "2026-11-21 03:04:05 UTC".
std::string format_moment(WallTime time);

}  // namespace varve::tool
