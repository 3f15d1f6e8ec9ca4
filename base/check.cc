#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace varve {

void check_failed(const char* expression, const char* file, int line,
                  const char* message) noexcept {
  std::fprintf(stderr, "%s:%d: broken invariant: %s%s%s\n", file, line, expression,
               message != nullptr ? ": " : "", message != nullptr ? message : "");
  std::fflush(stderr);
  std::abort();
}

}  // namespace varve
