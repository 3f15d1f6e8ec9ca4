// What an error number means to the layers above: one table, as base/status.h asks.
#pragma once

#include <source_location>
#include <string>
#include <string_view>

#include "base/status.h"

namespace varve::real_io {

// "action: text of the error", naming `object`, with a hint where there is one. `error` > 0.
Status error_status(int error, std::string_view action, std::string_view object,
                    std::source_location origin = std::source_location::current());

// "No space left on device (28)".
std::string error_text(int error);

}  // namespace varve::real_io
